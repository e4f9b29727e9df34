from pathlib import Path

import pytest

from loadtests.profiles import SHIPPED, BadProfile, read_profile

GOOD = '[mine]\nload = "open"\nshape = { kind = "steady", level = 5, duration_s = 10 }\n'
STEADY = 'kind = "steady", level = 5, duration_s = 10'
SOAK = 'kind = "soak", level = 5, duration_s = 10, warm_up_s = 5, window_s = 6'
BURST = 'kind = "burst", base = 1, peak = 5, every_s = 3, lasting_s = 0.5, bursts = 2'
RAMP = 'kind = "ramp", start = 5, hold_s = 10, settle_s = 10'


def test_a_profile_of_ones_own_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD + "[mine.thresholds]\nmax_p95_s = 3\n")
    assert read_profile("mine", file).thresholds.max_p95_s == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mine", "cannot be read as TOML"),
        ("[other]\n", "has no profile mine; it has other"),
        (GOOD.replace("open", "ajar"), "profile mine: load"),
        (GOOD.replace("level = 5, ", ""), "shape.steady.level: Field required"),
        (GOOD.replace("steady", "square"), "profile mine: shape: Input tag 'square'"),
        (GOOD + "[mine.thresholds]\nmax_p95 = 3\n", "thresholds.max_p95: Extra inputs are not permitted"),
        (GOOD.replace("= 10", "= 10, warm_up_s = 10"), "profile mine: shape.steady: nothing is left to count"),
        (GOOD.replace(STEADY, SOAK), "profile mine: shape.soak: not one window is counted"),
        (
            GOOD.replace(STEADY, BURST),
            "profile mine: shape.burst: a part of it may be skipped: every_s and lasting_s must",
        ),
        (GOOD.replace(STEADY, RAMP), "profile mine: shape.ramp: no level is measured"),
        (GOOD + "[mine.thresholds]\nmax_drift = 3\n", "profile mine: a steady cannot meet thresholds.max_drift"),
        (GOOD + "[mine.users]\nbad = { count = -1, pause_s = 1 }\n", "users.bad.count"),
    ],
)
def test_a_mistake_in_a_profile_is_told_with_its_field(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(BadProfile, match=said.replace(".", r"\.")):
        read_profile("mine", file)


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="cannot be read"):
        read_profile("mine", tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["mixed", "knee", "knee-closed", "steady", "steady-open", "burst", "soak"])
def test_a_shipped_profile_has_thresholds(name: str) -> None:
    profile = read_profile(name, SHIPPED)
    assert profile.thresholds.max_failed_pairs == 0
    assert profile.thresholds.max_error_share is not None
