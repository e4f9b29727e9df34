"""What the launcher knows, its children know: settings survive the way through the environment."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from judgefree.launcher.environment import part_environment, settings_environment
from pairs.settings import Settings, load_settings
from tests.conftest import MakeSettings

WORD = st.from_regex(r"[A-Za-z0-9:/._=-]{1,20}", fullmatch=True)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "database_url": WORD.map(lambda name: f"sqlite+aiosqlite:///{name}"),
        "api_keys": st.lists(WORD, max_size=3).map(tuple),
        "mllm_args": st.lists(WORD, max_size=3).map(tuple),
        "model": WORD,
        "adapter": WORD,
        "port": st.integers(1, 65_535),
        "ratio_mean": st.floats(-2, 2),
        "batch_age_s": st.floats(0, 1e6),
        "max_model_len": st.integers(16, 10**9),
        "clip_device": st.sampled_from(["auto", "cpu", "cuda"]),
        "data_dir": st.sampled_from([Path("data"), Path("/srv/a folder"), Path("..") / "x"]),
        "prompt": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    },
)


@given(CHANGES)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_children_read_the_settings_that_the_launcher_has(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    settings = make_settings(**changes)
    with monkeypatch.context() as child:
        for name, value in settings_environment(settings).items():
            child.setenv(name, value)
        assert load_settings() == settings


def test_a_setting_that_is_unset_does_not_come_back_from_a_file(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = make_settings(adapter="r1")
    (tmp_path / "judgefree.toml").write_text('adapter = "from-the-file"\n')
    empty = tmp_path / "parts.toml"
    empty.touch()
    monkeypatch.setenv("JUDGEFREE_BLOB_URL", "s3://stale")
    unset = settings.model_copy(update={"adapter": None})
    with monkeypatch.context() as child:
        for name in [name for name in os.environ if name.startswith("JUDGEFREE_")]:
            child.delenv(name)
        for name, value in part_environment(unset, empty).items():
            child.setenv(name, value)
        child.delenv("JUDGEFREE_BLOB_URL", raising=False)
        assert load_settings() == Settings(**unset.model_dump(exclude=set(Settings.model_computed_fields)))
        assert "s3://stale" not in part_environment(unset, empty).values()
