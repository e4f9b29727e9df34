"""The options of a command: flags over the environment over its table of the settings file; one way to be wrong."""

from pathlib import Path

import pytest

from pairs.errors import SettingsError
from pairs.settings import load_settings
from trainer.recipe import Recipe


@pytest.fixture(autouse=True)
def _own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "judgefree.toml"
    file.write_text('prompt = "What is there?"\n[train]\nbeta = 0.3\nlora_rank = 8\nlora_targets = ["q_proj"]\n')
    monkeypatch.setenv("JUDGEFREE_CONFIG", str(file))


def test_flags_win_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGEFREE_TRAIN_BETA", "0.2")
    monkeypatch.setenv("JUDGEFREE_TRAIN_SEED", "5")
    recipe = Recipe.read(["--seed", "7", "--balance-methods"])
    assert (recipe.lora_rank, recipe.beta, recipe.seed, recipe.balance_methods) == (8, 0.2, 7, True)
    assert recipe.lora_targets == ("q_proj",)


def test_a_command_s_table_does_not_disturb_the_other_settings() -> None:
    assert load_settings().prompt == "What is there?"


def test_a_table_of_no_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "judgefree.toml").write_text("[trian]\nbeta = 0.3\n")
    with pytest.raises(SettingsError, match="trian"):
        load_settings()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--beta", "-1"], "--beta = '-1': Input should be greater than 0"),
        (["--loss", "judge"], "--loss = 'judge': Input should be 'sigmoid'"),
        (["--held-out", "1"], "--held-out = '1': Input should be less than 1"),
        (["--name", "a/b"], "--name = 'a/b': String should match pattern"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_its_flag(flags: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError) as told:
        Recipe.read(flags)
    assert told.value.detail.startswith(sentence)
    assert "\n" not in told.value.detail


def test_a_bad_name_in_the_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "judgefree.toml").write_text("[train]\nbetta = 0.3\n")
    with pytest.raises(SettingsError, match="betta"):
        Recipe.read([])
