"""An image's /app: a virtual environment that holds the distributions of a requirements file and the package."""

import compileall
import errno
import os
import shutil
import subprocess
import sys
import sysconfig
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


def package(folder: Path) -> Path:
    """The folder of the package's files as they are installed: its wheel, built in `folder` from the build context."""
    source, out, unpacked = folder / "source", folder / "wheel", folder / "package"
    context.copy(source)
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*build, "--no-build-isolation", "--wheel-dir", str(out), str(source)], check=True)
    [built] = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(unpacked)
    compileall.compile_dir(unpacked, quiet=1, stripdir=str(unpacked))
    return unpacked


def names(image: Image) -> frozenset[str]:
    """The distributions that the Dockerfile installs beside the package, by name."""
    lines = (ROOT / image.requirements).read_text().splitlines()
    listed = {line.split("==")[0] for line in lines if not line.startswith("#")}
    return frozenset(listed | (reached([TORCH]) if image.installs_torch else set()))


def grow(folder: Path, names: Iterable[str], package: Path) -> Tree:
    """Make the environment in the new `folder`: hard links to what is installed here, and to the package's files."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    tree = Tree(folder, frozenset(names))
    for name in sorted(tree.names):
        _plant(name, folder)
    site = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    for file in package.rglob("*"):
        if file.is_file():
            _link(file, site / file.relative_to(package))
    return tree


def _plant(name: str, folder: Path) -> None:
    """The files that a distribution's RECORD names, at their places."""
    found = distribution(name)
    for file in found.files or ():
        source = Path(os.path.normpath(str(found.locate_file(file))))
        place = folder / source.relative_to(sys.prefix)
        if source.is_file() and not place.exists():  # a cache may have gone, or be named twice
            _link(source, place)


def _link(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.hardlink_to(source)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, place)
