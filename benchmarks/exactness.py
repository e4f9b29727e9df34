"""Whether paired decoding is exact where this runs: a vLLM's answers against the two-pass reference.

    python -m benchmarks.exactness [--runner v1|v2] [--cuda-graphs] [--scenes 48] [-- VLLM FLAGS]

Starts vLLM with paired decoding on the demo's model, in float32 without TF32, on the device that vLLM is built for.
Asks it, 64 at a time and twins among ordinary requests:

    twins      every scene at h = -0.5, 0, 0.6 and 1, greedy
    ordinary   every scene, and for every fourth one the question without the image, greedy
    drawn      every scene at h = 0.6 and temperature 0.7, twice in opposite orders, three of four with a seed

Greedy answers must have the tokens of `workers.mllm.reference`, which runs here on the CPU; twins must be equal; a seed
must give the same tokens again. Only ties are forgiven, and they are listed: answers that leave the reference at a step
where its best two logits are nearer than float noise. The exit status is 1 if anything else differs. Writes
benchmarks/results/exactness_DEVICE_RUNNER.json. The V2 runner needs a GPU, or Triton's interpreter.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from PIL import Image

from benchmarks.checking import DRAWN, IN_FLIGHT, MAX_TOKENS, RATIOS, TIE, findings, questions_about
from benchmarks.machine import write_result
from benchmarks.paired_decoding import PROMPT
from benchmarks.serving import MLLM_THREADS, serving
from demo.scenes import draw_scenes, pixels_of
from judgefree.demonstration import free_ports
from pairs.settings import local_model
from workers.mllm.launch import SERVER, Launch, arguments, check_installation, environment
from workers.mllm.reference import TwoPass

SEED = 11
_NO_TF32 = {"VLLM_FLOAT32_MATMUL_PRECISION": "highest", "NVIDIA_TF32_OVERRIDE": "0", "TRITON_F32_DEFAULT": "ieee"}
_GRAPHS = {"mode": 0, "cudagraph_mode": "FULL", "cudagraph_capture_sizes": [1, 2, 4, 8, 16, 32, 64, 128]}


def drawn_scenes(count: int) -> list[Image.Image]:
    """Unseen demo scenes: one half in distribution, one theme-breaking."""
    halves = {"in_distribution": count - count // 2, "theme_breaking": count // 2}
    return [
        Image.fromarray(pixels_of(one)) for split, n in halves.items() for one in draw_scenes(split, SEED, range(n))
    ]


def server(folder: str, is_cpu: bool, runner: str, more: Sequence[str]) -> AbstractContextManager[str]:
    """The base URL of vLLM as `workers.mllm` starts it, or the same on the V2 runner. Raises as `serving`."""
    [port] = free_ports(1)
    processor = ("--logits-processors", "workers.mllm.v2:PairedDecodingV2") if runner == "v2" else ()
    launch = Launch(folder, "mllm", port=port, dtype="float32", max_num_seqs=256, more=(*processor, *more))
    inherited = os.environ | ({"OMP_NUM_THREADS": str(MLLM_THREADS)} if is_cpu else _NO_TF32)
    environ = environment(launch, is_cpu, inherited, sorted(os.sched_getaffinity(0)))
    environ |= {"VLLM_USE_V2_MODEL_RUNNER": "1"} if runner == "v2" else {}
    return serving([sys.executable, "-P", "-m", SERVER, *arguments(launch, is_cpu)], environ, port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", choices=("v1", "v2"), default="v1", help="vLLM's model runner")
    parser.add_argument("--cuda-graphs", action="store_true", help="whole steps as CUDA graphs; otherwise eager")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("vllm_flags", nargs="*", help="after --: flags for vLLM")
    flags = parser.parse_args()
    is_cpu = check_installation()
    if is_cpu and flags.cuda_graphs:
        parser.error("--cuda-graphs needs vLLM's build for GPUs")
    mode = ["--compilation-config", json.dumps(_GRAPHS)] if flags.cuda_graphs else ["--enforce-eager"]
    more = [*(() if is_cpu else mode), *flags.vllm_flags]
    torch.set_num_threads(MLLM_THREADS)
    folder = local_model("demo", "mllm")
    questions = questions_about(drawn_scenes(flags.scenes), TwoPass(folder))
    with server(folder, is_cpu, flags.runner, more) as url:
        found = asyncio.run(findings(url, questions))
    settings = {"prompt": PROMPT, "max_tokens": MAX_TOKENS, "ratios": RATIOS, "scenes": flags.scenes, "seed": SEED}
    settings |= {"in_flight": IN_FLIGHT, "drawn": DRAWN, "tie": TIE, "dtype": "float32", "vllm_flags": more}
    device = "cpu" if is_cpu else "cuda"
    result = {"device": device, "runner": flags.runner, "settings": settings, "is_exact": found.is_exact, **vars(found)}
    name = f"exactness_{device}_{flags.runner}" + ("_graphs" if flags.cuda_graphs else "")
    for kind, count in found.compared.items():
        print(f"{found.right[kind]} of {count} {kind}")
    print(f"{len(found.differences)} differences, {len(found.ties)} ties; {found.metrics}")
    print(f"written to {write_result('exactness', result, name)}")
    sys.exit(0 if found.is_exact else 1)


if __name__ == "__main__":
    main()
