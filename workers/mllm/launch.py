"""How vLLM is started for this system: its command line and environment. Pure, but for `start`."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from workers.mllm.obstacles import obstacle_in
from workers.mllm.versions import check_version

SERVER = "vllm.entrypoints.openai.api_server"
SCHEDULER = "workers.mllm.scheduler.LockstepScheduler"
PROCESSOR = "workers.mllm.processor:PairedDecoding"
WAIT_VARIABLE = "JUDGEFREE_TWIN_WAIT_S"
"""How the scheduler, in a process of vLLM's, is told how long a twin waits for its other half, in seconds."""

_ON_CPU = ("--enforce-eager", "--block-size", "32")
"""Compiling doubles the time to start and gains the tiny model nothing; 128 tokens to a block, vLLM's default, is
longer than most of its prompts, which then never hit the prefix cache."""
_TINY_ON_CPU = ("--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor")
"""A tiny model is run by the engine's own process: one of its own, as vLLM has it on CPUs for the sake of many OpenMP
threads, waits for the other in a busy loop, and takes the cores from everything else."""

_ADAPTERS_KEPT = 32
"""So many adapters stay in main memory once they were loaded: what went is read from its folder again in the middle of
a step, and the engine ends if that is gone."""


class LaunchError(Exception):
    """vLLM cannot be started as asked; the message is one sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start: `model` is a local folder or a hub name; None leaves a choice to vLLM.

    With a `max_lora_rank` above 0, adapters up to that rank can be loaded while vLLM runs, and `max_loras` of them may
    be in one batch. What vLLM traces of a request goes to `trace_url` (OTLP/HTTP), as part of the request's trace.
    """

    model: str
    served_model_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int = 192
    twin_wait_s: float | None = None
    max_lora_rank: int = 0
    max_loras: int = 1
    trace_url: str | None = None
    more: Sequence[str] = ()

    @property
    def is_local(self) -> bool:
        return Path(self.model).is_dir()

    @property
    def is_tiny(self) -> bool:
        """Whether the model is a local one whose weights take less than 256 MiB."""
        return self.is_local and sum(file.stat().st_size for file in Path(self.model).glob("*.safetensors")) < 2**28


def arguments(launch: Launch, is_cpu: bool) -> list[str]:
    """vLLM's arguments. What `launch.more` repeats wins, since vLLM takes the last of two.

    The override keeps a model's own generation_config.json from asking for a repetition penalty, which paired
    decoding does not take. Prefix caching stays on: the three requests of a pair share most of their prompts.
    """
    named = {
        "--model": launch.model,
        "--served-model-name": launch.served_model_name,
        "--host": launch.host,
        "--port": str(launch.port),
        "--dtype": "float32" if is_cpu and launch.dtype == "auto" else launch.dtype,
        "--max-model-len": str(launch.max_model_len) if launch.max_model_len else None,
        "--max-num-seqs": str(launch.max_num_seqs),
        "--scheduler-cls": SCHEDULER,
        "--logits-processors": PROCESSOR,
        "--override-generation-config": '{"repetition_penalty": 1.0}',
        "--max-lora-rank": str(launch.max_lora_rank) if launch.max_lora_rank else None,
        "--otlp-traces-endpoint": launch.trace_url,
        "--max-loras": str(launch.max_loras) if launch.max_lora_rank else None,
        "--max-cpu-loras": str(max(_ADAPTERS_KEPT, launch.max_loras)) if launch.max_lora_rank else None,
    }
    flags = ["--enable-prefix-caching", "--disable-uvicorn-access-log", *(_ON_CPU if is_cpu else ())]
    flags += _TINY_ON_CPU if is_cpu and launch.is_tiny else ()
    flags += ["--enable-lora"] if launch.max_lora_rank else []
    given = [part for name, value in named.items() if value is not None for part in (name, value)]
    return [*given, *flags, *launch.more]


def environment(launch: Launch, is_cpu: bool, inherited: Mapping[str, str], cores: Sequence[int]) -> dict[str, str]:
    """The environment of vLLM: what `inherited` sets wins over our defaults, the V1 model runner excepted.

    cores: the processor cores that this process may use. On a CPU the model's threads are bound to the first
    OMP_NUM_THREADS of them (all, if unset): unbound spinning threads of two processes on the same cores slow both
    down more than tenfold.
    """
    defaults = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if launch.twin_wait_s is not None:
        inherited = {**inherited, WAIT_VARIABLE: str(launch.twin_wait_s)}
    if launch.trace_url:
        defaults |= {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "judgefree-mllm"}
    if launch.max_lora_rank:
        defaults |= {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    if launch.is_local:
        defaults |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if is_cpu:
        threads = int(inherited.get("OMP_NUM_THREADS", len(cores)))
        bound = ",".join(map(str, cores[:threads]))
        if launch.is_tiny and threads == 1:  # nothing spins, so the engine may go where a core is free
            bound = "nobind"
        defaults |= {"VLLM_CPU_OMP_THREADS_BIND": bound}
        if launch.is_tiny:  # otherwise vLLM takes most of the machine's memory for its KV cache
            defaults |= {"VLLM_CPU_KVCACHE_SPACE": "1"}
    return {**defaults, **inherited, "VLLM_USE_V2_MODEL_RUNNER": "0"}


def check_installation() -> bool:
    """Whether vLLM's CPU build is the one installed. Raises UnsupportedVersion or LaunchError.

    The entry point matters because vLLM inspects a model's class in a fresh Python process of its own.
    """
    build = check_version()
    if not entry_points(group="vllm.platform_plugins", name="judgefree"):
        raise LaunchError(
            "The judgefree package is not installed here, so vLLM cannot find its plugin: pip install -e ."
        )
    return build.is_cpu


def start(launch: Launch) -> None:
    """Replace this process by vLLM's server, so that its process id and signals stay the caller's.

    Raises LaunchError or UnsupportedVersion when the model, vLLM or the port is not there to be used, or when
    paired decoding does not work with what is asked of vLLM.
    """
    if obstacle := obstacle_in(launch.more):
        raise LaunchError(obstacle.sentence)
    is_path = launch.model.startswith((".", "/", "~"))
    if (is_path or launch.is_local) and not (Path(launch.model) / "config.json").is_file():
        raise LaunchError(f"There is no model in {launch.model}: no config.json.")
    is_cpu = check_installation()
    _check_port(launch)
    environ = environment(launch, is_cpu, os.environ, sorted(os.sched_getaffinity(0)))
    os.execve(sys.executable, [sys.executable, "-P", "-m", SERVER, *arguments(launch, is_cpu)], environ)


def _check_port(launch: Launch) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((launch.host, launch.port))
        except OSError as error:
            raise LaunchError(f"vLLM cannot listen on {launch.host}:{launch.port}: {error.strerror}.") from error
