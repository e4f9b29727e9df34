"""The settings of the trainer's commands: each read from flags, over the environment, over a table of the TOML file."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self, TypeVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pairs.errors import SettingsError
from pairs.settings import ENV_PREFIX, config_file

Found = TypeVar("Found", bound="Options")


class Options(BaseSettings):
    """Options of one command, which is also the name of their table: `[train] beta = 0.1` in the TOML file,
    `JUDGEFREE_TRAIN_BETA`, `--beta`."""

    command: ClassVar[str]
    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Self:
        """The options in force under command-line `arguments`. Raises SettingsError, one sentence, for a bad value;
        ends the process as argparse does for an unknown flag and for --help."""
        flags: Any = CliSettingsSource(
            cls,
            cli_prog_name=f"judgefree {cls.command}",
            cli_parse_args=list(arguments),
            cli_kebab_case=True,
            cli_implicit_flags=True,
            cli_hide_none_type=True,
            cli_avoid_json=True,
        )
        try:
            return cls(_cli_settings_source=flags)  # type: ignore[call-arg]
        except ValidationError as error:
            raise SettingsError("; ".join(_sentence(problem) for problem in error.errors())) from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _Table(settings_cls, cls.command)


class _Table(TomlConfigSettingsSource):
    """One table of the TOML file."""

    def __init__(self, settings_cls: type[BaseSettings], name: str) -> None:
        self._name = name
        super().__init__(settings_cls, config_file())

    def __call__(self) -> dict[str, Any]:
        table = self.toml_data.get(self._name, {})
        return dict(table) if isinstance(table, dict) else {}


def env_prefix(command: str) -> str:
    return f"{ENV_PREFIX}{command.upper()}_"


def _sentence(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"]).replace("_", "-") or "options"
    return f"--{name} = {problem.get('input')!r}: {problem['msg'].removeprefix('Value error, ')}"
