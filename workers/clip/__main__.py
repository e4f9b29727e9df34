"""`python -m workers.clip`: run one verifier until SIGTERM or SIGINT; exit 2 for a setting or model that is wrong."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from pairs.errors import MissingModel, SettingsError
from pairs.logs import configure_logs
from pairs.settings import Settings, load_settings, local_model

_FLAGS = (
    "clip", "clip_device", "clip_dtype", "scorer", "margin_threshold", "batch_size", "batch_age_s", "verifier_port",
    "host", "data_dir", "redis_url", "namespace", "database_url", "blob_url", "max_attempts", "lease_s", "log_level",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verifier; the exit status is 0 after a stop by signal and 2 for a wrong setting or model."""
    parser = argparse.ArgumentParser(prog="python -m workers.clip", description="Verify candidates with a CLIP.")
    for name in _FLAGS:
        parser.add_argument(f"--{name.replace('_', '-')}", help=Settings.model_fields[name].description)
    try:
        settings = load_settings(**vars(parser.parse_args(arguments)))
        configure_logs("verifier", settings.log_level)
        local_model(settings.clip, "clip")
        if "OMP_NUM_THREADS" in os.environ:  # the tokenizer's threads count as torch's do: one share of the cores
            os.environ.setdefault("RAYON_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
        from workers.clip.process import serve  # takes seconds; what is wrong so far is said before

        asyncio.run(serve(settings))
    except (SettingsError, MissingModel) as error:
        print(error.detail, file=sys.stderr)  # noqa: T201 - the terminal is for people
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
