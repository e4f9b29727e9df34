"""Every setting of every part: typed, bounded, documented once, the same names in TOML, environment and manifests.

`JUDGEFREE_<NAME>` in the environment wins over `<name>` in the TOML file, which is `judgefree.toml` in the working
directory or the file that `JUDGEFREE_CONFIG` names.
"""

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, computed_field, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pairs.errors import MissingModel, SettingsError
from pairs.model import Ratio

ENV_PREFIX = "JUDGEFREE_"
DEMO = "demo"
"""The name of the embedded model and of the embedded encoder."""
_EMBEDDED = {DEMO: ("shapes", "weights"), "demo-digits": ("digits", "weights-digits")}
"""Of each embedded model's name: its demo world, and where its weights lie."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank; an adapter's own rank may be any up to it."""
TABLES = ("train", "improve", "ablate")
"""The tables of the TOML file, each with the settings of the command of that name."""


def config_file() -> Path:
    return Path(os.environ.get(f"{ENV_PREFIX}CONFIG", "judgefree.toml"))


class Settings(BaseSettings):
    """The effective settings. Build it with `load_settings()`, which turns a bad value into one clear sentence."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    # Where things rest
    data_dir: Path = Field(Path("judgefree-data"), description="Folder of the embedded Valkey, store, images and logs")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey, version 7 or later")
    namespace: str = Field("judgefree", pattern=r"^[A-Za-z0-9_-]+$", description="Prefix of every key in Redis")
    database_url: str | None = Field(None, description="SQLAlchemy URL of the store; SQLite in data_dir if unset")
    blob_url: str | None = Field(None, description="fsspec URL of the image store; a folder in data_dir if unset")
    snapshot_url: str | None = Field(None, description="fsspec URL of the snapshots; a folder in data_dir if unset")

    # The gateway
    host: str = Field("127.0.0.1", description="Address that the gateway listens on")
    port: int = Field(8080, ge=1, le=65_535, description="Port that the gateway listens on")
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field((), description="Keys that clients must send; none: open")
    max_image_bytes: int = Field(20 * 2**20, ge=1, description="Largest image file accepted, in bytes")
    max_request_bytes: int = Field(256 * 2**20, ge=1, description="Largest request accepted, in bytes")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image accepted, in pixels")
    max_image_side: int = Field(1536, ge=16, description="Images are scaled down to this longer side, in pixels")
    max_images: int = Field(64, ge=1, description="Most images in one request")
    max_in_flight: int = Field(10_000, ge=1, description="Pairs accepted and not yet done; past it, 429")

    # Paired generation
    model: str = Field(DEMO, description="The policy: a Hugging Face name, a folder, or `demo`")
    adapter: str | None = Field(
        None, description="LoRA adapter where a request names none, or `base`; the promoted one if unset"
    )
    mllm_url: str = Field(
        "http://127.0.0.1:8000", description="Base URLs of the vLLM replicas; a name means all its addresses"
    )
    prompt: str = Field("Describe the image.", min_length=1, description="Prompt where a request names none")
    max_tokens: int = Field(128, ge=1, le=32_768, description="Answer length where a request names none, in tokens")
    ratio_mean: Ratio = Field(0.5, description="Mean of the hallucination ratio where a request names none")
    ratio_std: float = Field(0.15, ge=0, le=2, description="Its standard deviation; 0 fixes the ratio")
    pairer_concurrency: int = Field(48, ge=1, description="Pairs in generation at a time at each replica, per gateway")
    mllm_timeout_s: float = Field(300, gt=0, description="Longest wait for one answer of the model, in seconds")

    # The vLLM process
    mllm_port: int = Field(8000, ge=1, le=65_535, description="Port of the vLLM that `judgefree up` starts")
    mllm_dtype: str = Field("auto", description="vLLM's --dtype")
    max_model_len: int | None = Field(None, ge=16, description="vLLM's --max-model-len; the model's own if unset")
    max_num_seqs: int = Field(192, ge=2, description="vLLM's --max-num-seqs: three to a pair in generation")
    twin_wait_s: float = Field(30, gt=0, description="Longest wait of a twin for its other half in vLLM, in seconds")
    max_lora_rank: int = Field(0, description="vLLM's --max-lora-rank, for adapters at run time; 0: no adapters")
    max_loras: int = Field(2, ge=1, description="Most adapters in one batch of vLLM")
    mllm_args: Annotated[tuple[str, ...], NoDecode] = Field((), description="More arguments for vLLM, as they are")

    # Verification
    clip: str = Field(DEMO, description="The encoder: open_clip's MODEL/PRETRAINED, a folder, or `demo`")
    clip_device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device of the encoder")
    clip_dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field("auto", description="Its floating point type")
    scorer: Literal["sentence", "phrase"] = Field(
        "sentence", description="What is averaged: sentences' cosines, or with their noun phrases' (F-CLIPScore)"
    )
    margin_threshold: float = Field(
        0.03, ge=0, le=2, description="Margin (cosine) past which a pair is kept or swapped"
    )
    batch_size: int = Field(32, ge=1, description="Most candidates in one batch of the verifier")
    batch_age_s: float = Field(0.2, ge=0, description="Longest wait for a batch to fill, in seconds")
    verifier_port: int = Field(8081, ge=1, le=65_535, description="Port of the verifier's health and metrics")

    # The queue
    max_attempts: int = Field(3, ge=1, description="Attempts at a stage before a pair goes to the dead letters")
    max_releases: int = Field(5, ge=1, description="Times a pair is given back unharmed before it counts as the cause")
    lease_s: float = Field(30, gt=0, description="A worker silent for so long loses its entries to another, in seconds")
    idempotency_ttl_s: int = Field(86_400, ge=1, description="How long an idempotency key is remembered, in seconds")

    trace_url: str | None = Field(
        None, description="OTLP/HTTP endpoint of traces (`http://HOST:4318/v1/traces`); no traces if unset"
    )
    trace_share: float = Field(1.0, ge=0, le=1, description="Share of pairs traced, of those that no client traces")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")

    @field_validator("api_keys", "mllm_args", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("max_lora_rank")
    @classmethod
    def _is_a_rank_of_vllm(cls, rank: int) -> int:
        if rank not in (0, *LORA_RANKS):
            raise ValueError(f"must be 0 (no adapters) or one of vLLM's {', '.join(map(str, LORA_RANKS))}")
        return rank

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: str) -> str:
        from redis.asyncio.connection import parse_url  # here: not every part that reads settings needs it

        parse_url(url)
        return url

    @field_validator("database_url")
    @classmethod
    def _is_store(cls, url: str | None) -> str | None:
        if url is None:
            return url
        from sqlalchemy.engine import make_url  # here: it takes a moment to import
        from sqlalchemy.exc import SQLAlchemyError

        try:
            parsed = make_url(url)
            is_known = parsed.get_backend_name() in ("sqlite", "postgresql")
            is_usable = is_known and parsed.get_dialect(_is_async=True).is_async
        except (SQLAlchemyError, ValueError):
            is_usable = False
        if not is_usable:
            raise ValueError("must begin with sqlite+aiosqlite:// or postgresql+psycopg://")
        return url

    @field_validator("mllm_url", mode="before")
    @classmethod
    def _joined(cls, value: object) -> object:
        return " ".join(value) if isinstance(value, list) and all(isinstance(url, str) for url in value) else value

    @field_validator("mllm_url")
    @classmethod
    def _are_http(cls, urls: str) -> str:
        for url in urls.split() or [""]:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
                raise ValueError("must be http://HOST:PORT or https://HOST:PORT, or several of these")
        return urls

    @property
    def mllm_urls(self) -> tuple[str, ...]:
        """The URLs in `mllm_url`, each once."""
        return tuple(dict.fromkeys(url.rstrip("/") for url in self.mllm_url.split()))

    @field_validator("trace_url")
    @classmethod
    def _is_endpoint(cls, url: str | None) -> str | None:
        if url is None:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be http://HOST:PORT/v1/traces or https://HOST/v1/traces")
        return url

    @computed_field  # type: ignore[prop-decorator]
    @property
    def store_url(self) -> str:
        """The store that is in force: `database_url`, or the SQLite file in `data_dir`."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir.resolve()}/pairs.db"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def images_url(self) -> str:
        """The image store that is in force: `blob_url`, or the folder in `data_dir`."""
        return self.blob_url or f"file://{self.data_dir.resolve()}/images"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def snapshots_url(self) -> str:
        """Where snapshots rest: `snapshot_url`, or the folder in `data_dir`."""
        return self.snapshot_url or f"file://{self.data_dir.resolve()}/snapshots"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TopOfFile(settings_cls, config_file())


class TopOfFile(TomlConfigSettingsSource):
    """The TOML file without the tables that belong to one command each."""

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name not in TABLES}


def load_settings(**overrides: Any) -> Settings:
    """The effective settings; `overrides` (from command-line flags; None means not given) win over everything.

    Raises SettingsError naming each bad setting, where it came from, and what it must be.
    """
    named = os.environ.get(f"{ENV_PREFIX}CONFIG")
    if named and not Path(named).is_file():
        raise SettingsError(f"{ENV_PREFIX}CONFIG names {named}, which is not a file.")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(problem, given) for problem in error.errors())) from error
    except ValueError as error:  # a TOML file that does not parse
        raise SettingsError(f"{config_file()} cannot be read: {error}") from error


def setting_origin(name: str) -> str:
    """Where the effective value of setting `name` comes from: the environment, the TOML file, or the default."""
    if name in EnvSettingsSource(Settings)():
        return f"{ENV_PREFIX}{name.upper()}"
    if name in TopOfFile(Settings, config_file())():
        return str(config_file())
    return "default"


def _sentence(problem: Any, given: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    origin = "the command line" if name in given else setting_origin(name)
    return f"setting {name} = {problem.get('input')!r} (from {origin}): {problem['msg'].removeprefix('Value error, ')}"


def public_name(name: str) -> str:
    """What a model is called where others see it: a folder's base name, else the name as it is."""
    path = Path(name).expanduser()
    is_folder = name.startswith((".", "/", "~")) or path.is_dir()
    return path.resolve().name if is_folder else name


def local_model(name: str, kind: Literal["mllm", "clip"]) -> str:
    """The folder of the embedded model for `demo` and `demo-digits`, the absolute folder for a path, else the hub name.

    Raises MissingModel when `name` looks like a path and there is no such folder.
    """
    if name in _EMBEDDED:
        world, weights = _EMBEDDED[name]
        folder = Path(str(files("pairs"))).parent / "demo" / weights / kind
        if not (folder / "config.json").is_file() and not (folder / "open_clip_config.json").is_file():
            command = f"judgefree demo-train --world {world} --out {folder.parent}"
            raise MissingModel(f"The embedded {kind} weights are missing; run `{command}` to make them.")
        return str(folder)
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if name.startswith((".", "/", "~")):
        raise MissingModel(f"There is no model folder {name}; give an existing folder, a hub name or `demo`.")
    return name
