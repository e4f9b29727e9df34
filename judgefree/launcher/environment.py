"""The settings as the parts receive them: one `JUDGEFREE_*` variable each, and no settings file besides."""

import os
from pathlib import Path

from pairs.settings import ENV_PREFIX, Settings


def settings_environment(settings: Settings) -> dict[str, str]:
    """The variables from which `pairs.settings.load_settings` builds `settings` again; unset settings have none."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return {f"{ENV_PREFIX}{name.upper()}": _text(value) for name, value in values.items() if value is not None}


def part_environment(settings: Settings, no_file: Path) -> dict[str, str]:
    """The whole environment of a part: this process's, with the settings in force and nothing else of ours.

    `no_file` is an empty settings file: a setting that is unset here must not come back from a file in the working
    directory.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return others | settings_environment(settings) | {f"{ENV_PREFIX}CONFIG": str(no_file)}


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)
