"""An image's /app: a virtual environment that holds the distributions of a requirements file and the package."""

import compileall
import errno
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from tools.closure import TORCH, reached
from tools.images import context
from tools.images.dockerfile import ROOT, Image


@dataclass(frozen=True)
class Tree:
    """The environment in `folder`, and the names of the distributions in it, the package apart."""

    folder: Path
    names: frozenset[str]

    @property
    def size(self) -> int:
        """Bytes of its files; Python itself, which is the base image's, is not among them."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file() and not file.is_symlink())


def wheel(folder: Path) -> Path:
    """The package as a builder makes it: built in `folder` from the build context alone."""
    source, out = folder / "src", folder / "wheel"
    context.copy(source)
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--no-build-isolation", "--wheel-dir", str(out), str(source)], check=True)
    [built] = out.glob("*.whl")
    return built


def names(image: Image) -> frozenset[str]:
    """The distributions that the Dockerfile installs beside the package, by name."""
    lines = (ROOT / image.requirements).read_text().splitlines()
    listed = {line.split("==")[0] for line in lines if not line.startswith("#")}
    return frozenset(listed | (reached([TORCH]) if image.installs_torch else set()))


def grow(folder: Path, names: Iterable[str], package: Path) -> Tree:
    """Make the environment in the new `folder`: hard links to what is installed here, and the package's wheel."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    tree = Tree(folder, frozenset(names))
    for name in sorted(tree.names):
        _plant(name, folder)
    site = folder / Path(str(distribution("pip").locate_file(""))).relative_to(sys.prefix)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(site)
        ours = {entry.split("/")[0] for entry in archive.namelist()}
    for room in ours:
        compileall.compile_dir(site / room, quiet=1)
    return tree


def _plant(name: str, folder: Path) -> None:
    """The files that a distribution's RECORD names, at their places."""
    found = distribution(name)
    for file in found.files or ():
        source = Path(os.path.normpath(str(found.locate_file(file))))
        place = folder / source.relative_to(sys.prefix)
        if source.is_file() and not place.exists():  # a cache may have gone, or be named twice
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(source, place)


def _link(source: Path, place: Path) -> None:
    try:
        place.hardlink_to(source)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, place)
