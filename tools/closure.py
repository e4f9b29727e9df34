"""What a part's image installs: the lines of requirements.lock that its extras of pyproject.toml need, and no others.

    python -m tools.closure gateway s3     prints them for these extras
    python -m tools.closure --write        writes the file of every part, from which its Dockerfile installs

The requirements of each distribution are read from the installed ones, so run it where everything is installed. torch
is left to the Dockerfiles, as it is to the Makefile.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lock import LEFT_OUT

ROOT = Path(__file__).parent.parent
TORCH = "torch"
STORES = ("postgres", "s3")
PARTS: Mapping[str, tuple[str, ...]] = {
    "service/requirements.txt": ("gateway", *STORES, "tracing"),
    "workers/clip/requirements.txt": ("verifier", *STORES, "tracing"),
    "workers/mllm/requirements.cpu.txt": ("mllm-cpu",),
    "trainer/requirements.txt": ("trainer", *STORES),
    "loadtests/requirements.txt": ("loadtest",),
}
"""Each part's file, and the extras that its image has."""
BESIDE_VLLM = "workers/mllm/requirements.gpu.txt"
"""What our own package needs and an image that has vLLM already does not bring."""


class NotPinned(Exception):
    """Something is needed that requirements.lock does not pin; the message is a sentence."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml; none: the package alone")
    parser.add_argument("--write", action="store_true", help="write the file of every part")
    asked = parser.parse_args()
    if not asked.write:
        sys.stdout.write(pinned(closure(asked.extras)))
        return
    for name, content in files().items():
        (ROOT / name).write_text(content)


def files() -> dict[str, str]:
    """What each part's file must hold."""
    written = {name: pinned(closure(extras)) for name, extras in PARTS.items()}
    return written | {BESIDE_VLLM: pinned(closure([]) - reached(project()["optional-dependencies"]["mllm-cpu"]))}


def closure(extras: Iterable[str]) -> set[str]:
    """The names of all distributions that judgefree with `extras` needs, torch included, judgefree itself not."""
    described = project()
    optional = described["optional-dependencies"]
    return reached([*described["dependencies"], *(line for extra in extras for line in optional[extra])])


def project() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    described: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return described


def reached(requirements: Iterable[str]) -> set[str]:
    """The names of the distributions that `requirements` lead to, those that the lock leaves out excepted.

    What only torch asks for and the lock does not pin (the libraries of its CUDA build) counts as a part of torch.
    Raises NotPinned.
    """
    pins, found = lock(), set[tuple[str, str]]()
    waiting = [(Requirement(line), "", "pyproject.toml") for line in requirements]
    while waiting:
        requirement, extra, asker = waiting.pop()
        name = canonicalize_name(requirement.name)
        if not _is_wanted(requirement, extra) or (asker == TORCH and name not in pins):
            continue
        if name not in pins and name != TORCH:
            raise NotPinned(f"{asker} needs {name}, which requirements.lock does not pin.")
        for each in {"", *requirement.extras} - {known for of, known in found if of == name}:
            found.add((name, each))
            waiting += [(Requirement(line), each, name) for line in _requirements_of(name)]
    return {name for name, _ in found}


def _is_wanted(requirement: Requirement, extra: str) -> bool:
    """Whether it holds here for who is installed with `extra`, and the lock does not leave it out on purpose."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return False
    return canonicalize_name(requirement.name) not in LEFT_OUT - {TORCH}


def _requirements_of(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError as error:
        raise NotPinned(f"{name} is not installed; run this where all of requirements.lock is.") from error


def pinned(names: Iterable[str]) -> str:
    """The lines of the lock that `names` stand in."""
    pins = lock()
    lines = [f"{name}=={pins[name]}\n" for name in sorted(names) if name in pins]
    return "# Made from requirements.lock by `python -m tools.closure --write`.\n" + "".join(lines)


def lock() -> dict[str, str]:
    """Version by name."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


if __name__ == "__main__":
    main()
