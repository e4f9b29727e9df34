"""What the front door refuses: one sentence for the person at the terminal, exit code 2."""

from pairs.errors import JudgefreeError


class Mistake(JudgefreeError):
    """Something that the user can mend: a used port, a missing part, a file that is not there."""

    type, status, title = "mistake", 400, "This cannot be done as asked"


class PartFailed(JudgefreeError):
    """A part of the stack cannot be started, or a program that a command runs has failed."""

    type, title = "part-failed", "A part cannot be started"
