"""`python -m trainer.evaluation`: the command `evaluate` by itself."""

import sys

from pairs.errors import JudgefreeError
from trainer.commands.evaluate import evaluate

if __name__ == "__main__":
    try:
        evaluate(sys.argv[1:])
    except JudgefreeError as error:
        print(f"judgefree: {error.detail}", file=sys.stderr)  # noqa: T201 - the terminal is for people
        sys.exit(2)
