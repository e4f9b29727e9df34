"""A bad setting is one sentence that names it; a model's folder keeps its path to itself."""

from pathlib import Path

import pytest

from pairs.errors import SettingsError
from pairs.settings import public_name
from tests.conftest import MakeSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", "foo"),
        ("redis_url", "http://127.0.0.1:6379"),
        ("redis_url", "redis://127.0.0.1:port/0"),
        ("database_url", "nonsense"),
        ("database_url", "nonsense://127.0.0.1/pairs"),
        ("database_url", "postgresql+nonsense://127.0.0.1/pairs"),
        ("database_url", "mysql+aiomysql://127.0.0.1/pairs"),
        ("database_url", "sqlite:///pairs.db"),
        ("database_url", "postgresql+psycopg://127.0.0.1:port/pairs"),
        ("mllm_url", "http://[::bad"),
        ("mllm_url", "127.0.0.1:8000"),
        ("mllm_url", "http://"),
        ("mllm_url", "http://127.0.0.1:99999"),
    ],
)
def test_a_bad_url_is_one_sentence(make_settings: MakeSettings, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^setting {name} = ") as told:
        make_settings(**{name: value})
    assert "\n" not in told.value.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", "rediss://user:password@queue.example:6380/1"),
        ("redis_url", "unix:///run/valkey.sock"),
        ("database_url", "sqlite+aiosqlite:///pairs.db"),
        ("database_url", "postgresql+psycopg://user:password@store.example/pairs"),
        ("mllm_url", "https://[::1]:8000/"),
    ],
)
def test_a_good_url_is_taken_as_it_is(make_settings: MakeSettings, name: str, value: str) -> None:
    assert getattr(make_settings(**{name: value}), name) == value


def test_a_folder_is_known_by_its_base_name(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    assert public_name(str(tmp_path / "my-model")) == "my-model"
    assert public_name("/elsewhere/their-model/") == "their-model"
    assert public_name("demo") == "demo"
    assert public_name("some/model") == "some/model"
    assert public_name("ViT-B-32/laion2b_s34b_b79k") == "ViT-B-32/laion2b_s34b_b79k"
