"""A process of an image: its own user, its own read-only file system, its volumes, and what it needs of the kernel."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.images.dockerfile import Image
from tools.images.tree import Tree

_ENTER = Path(__file__).parent / "enter.sh"


@dataclass(frozen=True)
class Container:
    """An image with its /app, and the folder that holds its volumes."""

    image: Image
    tree: Tree
    folder: Path

    def volume(self, name: str) -> Path:
        """Where the files of a volume of the image, such as /data, lie."""
        return self.folder / "volumes" / name.strip("/")

    def prepare(self) -> None:
        """Make the volumes, empty, as the image gives them to its user."""
        (self.folder / "root").mkdir(parents=True, exist_ok=True)
        for name in self.image.volumes:
            self.volume(name).mkdir(parents=True, exist_ok=True)
            os.chown(self.volume(name), *self.image.user)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: int | IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        """Start `command` in the image's environment with `environment` over it, in a process group of its own; the
        process id is the command's. What it prints goes to `log`."""
        self.prepare()
        places = [str(self.folder / "root"), sys.base_prefix, str(self.tree.folder), str(self.folder / "volumes")]
        owner = [str(number) for number in self.image.user]
        enter = ["unshare", "--mount", "--propagation", "private", "sh", str(_ENTER)]
        return subprocess.Popen(
            [*enter, *places, *owner, self.image.workdir, *command],
            env={**self.image.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float = 240) -> tuple[int, str]:
        """Run `command` to its end: its exit status and what it printed. Raises TimeoutExpired."""
        process = self.start(command, environment, subprocess.PIPE)
        try:
            printed, _ = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
            process.wait()
        return process.returncode, printed.decode(errors="replace")


def obstacle() -> str | None:
    """Why no container can be started here; None where one can."""
    if os.geteuid() != 0:
        return "only root may start a process as another user in a file system of its own"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    return f"this kernel or container allows no mounts: {tried.stderr.decode().strip()}" if tried.returncode else None
