"""`drift`: how far an adapter's policy has gone from its base."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from pairs.settings import load_settings, local_model
from trainer.drift import kl_to_base, read_probes


def drift(arguments: Sequence[str]) -> None:
    """Measure the KL divergence of an adapter's policy from its base on a fixed set of answers."""
    parser = argparse.ArgumentParser(prog="judgefree drift", description=drift.__doc__)
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    parser.add_argument("--answers", type=Path, required=True, help="what `judgefree evaluate --answers` wrote")
    parser.add_argument("--of", required=True, help="the model whose answers are taken from there")
    parser.add_argument("--limit", type=int, default=64, help="most answers")
    parser.add_argument("--model", help="the base (setting model)")
    parser.add_argument("--out", type=Path, help="file to write the figure to, as JSON")
    asked = parser.parse_args(arguments)
    base = local_model(asked.model or load_settings().model, "mllm")
    probes = read_probes(asked.answers, asked.of, asked.limit)
    figure = json.dumps({"kl": kl_to_base(base, asked.adapter, probes), "answers": len(probes)})
    if asked.out is not None:
        asked.out.write_text(figure + "\n", encoding="utf-8")
    print(figure)  # noqa: T201 - the command's result
