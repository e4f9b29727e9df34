"""`python -m workers.mllm`: vLLM with paired decoding. Flags win over the settings; unknown flags go to vLLM."""

import argparse
import sys

from pairs.errors import MissingModel, SettingsError
from pairs.settings import load_settings, local_model, public_name
from workers.mllm.launch import Launch, LaunchError, start
from workers.mllm.versions import UnsupportedVersion


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m workers.mllm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", help="a Hugging Face name, a folder, or `demo` (setting: model)")
    parser.add_argument(
        "--served-model-name", help="the name that requests give; by default --model, of a folder its base name"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (setting: mllm_port)")
    parser.add_argument("--dtype", help="floating point type; auto is float32 on a CPU (setting: mllm_dtype)")
    parser.add_argument("--max-model-len", type=int, help="longest context in tokens (setting: max_model_len)")
    parser.add_argument("--max-num-seqs", type=int, help="most requests in one batch (setting: max_num_seqs)")
    parser.add_argument("--twin-wait-s", type=float, help="longest wait of a twin, in seconds (setting: twin_wait_s)")
    parser.add_argument("--max-lora-rank", type=int, help="largest rank of an adapter (setting: max_lora_rank)")
    parser.add_argument("--max-loras", type=int, help="most adapters in one batch (setting: max_loras)")
    return parser.parse_known_args(arguments)


def launch_from(arguments: list[str]) -> Launch:
    """What to start. Raises SettingsError or MissingModel, each with one sentence."""
    flags, more = parse(arguments)
    settings = load_settings(
        model=flags.model,
        mllm_port=flags.port,
        mllm_dtype=flags.dtype,
        max_model_len=flags.max_model_len,
        max_num_seqs=flags.max_num_seqs,
        twin_wait_s=flags.twin_wait_s,
        max_lora_rank=flags.max_lora_rank,
        max_loras=flags.max_loras,
    )
    return Launch(
        model=local_model(settings.model, "mllm"),
        served_model_name=flags.served_model_name or public_name(settings.model),
        host=flags.host,
        port=settings.mllm_port,
        dtype=settings.mllm_dtype,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        twin_wait_s=settings.twin_wait_s,
        max_lora_rank=settings.max_lora_rank,
        max_loras=settings.max_loras,
        trace_url=settings.trace_url,
        more=(*settings.mllm_args, *more),
    )


def main() -> None:
    try:
        start(launch_from(sys.argv[1:]))
    except (LaunchError, UnsupportedVersion, SettingsError, MissingModel) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal, before any log exists
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
