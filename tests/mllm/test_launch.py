"""How vLLM is started: arguments, environment, and one sentence when it cannot be."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from pairs.errors import SettingsError
from pairs.settings import LORA_RANKS
from workers.mllm.__main__ import launch_from
from workers.mllm.launch import PROCESSOR, SCHEDULER, SERVER, WAIT_VARIABLE, Launch, arguments, environment
from workers.mllm.obstacles import obstacle_in


def test_lockstep_and_blend_are_always_in_force() -> None:
    given = arguments(Launch("some/model"), is_cpu=False)
    assert given[given.index("--scheduler-cls") + 1] == SCHEDULER
    assert given[given.index("--logits-processors") + 1] == PROCESSOR


def test_the_cpu_build_gets_float32_and_eager_mode_unless_told_otherwise() -> None:
    given = arguments(Launch("m"), is_cpu=True)
    assert given[given.index("--dtype") + 1] == "float32"
    assert "--enforce-eager" in given
    assert "bfloat16" in arguments(Launch("m", dtype="bfloat16"), is_cpu=True)
    assert arguments(Launch("m", more=["--block-size", "64"]), is_cpu=True)[-2:] == ["--block-size", "64"]


def test_the_environment_binds_each_process_to_its_share_of_the_cores() -> None:
    made = environment(Launch("m"), is_cpu=True, inherited={"OMP_NUM_THREADS": "1", "HOME": "x"}, cores=[2, 3])
    assert made["VLLM_CPU_OMP_THREADS_BIND"] == "2"
    assert made["VLLM_USE_V2_MODEL_RUNNER"] == "0"
    assert made["HOME"] == "x"
    assert "HF_HUB_OFFLINE" not in made
    assert "VLLM_CPU_KVCACHE_SPACE" not in made
    kept = environment(Launch("m"), is_cpu=True, inherited={"VLLM_CPU_OMP_THREADS_BIND": "7"}, cores=[2, 3])
    assert kept["VLLM_CPU_OMP_THREADS_BIND"] == "7"


def test_a_tiny_model_with_one_thread_runs_in_the_engine_itself_and_wherever_a_core_is_free(tmp_path: Path) -> None:
    tiny = Launch(str(tmp_path))
    one, two = ({"OMP_NUM_THREADS": count} for count in ("1", "2"))
    assert environment(tiny, is_cpu=True, inherited=one, cores=[2, 3])["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert environment(tiny, is_cpu=True, inherited=two, cores=[2, 3])["VLLM_CPU_OMP_THREADS_BIND"] == "2,3"
    assert "--distributed-executor-backend" in arguments(tiny, is_cpu=True)
    assert "--distributed-executor-backend" not in arguments(Launch("a/large-one"), is_cpu=True)


def test_a_local_folder_is_served_without_the_hub(tmp_path: Path) -> None:
    assert environment(Launch(str(tmp_path)), is_cpu=False, inherited={}, cores=[0])["HF_HUB_OFFLINE"] == "1"


def test_flags_win_over_settings_and_the_rest_goes_to_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGEFREE_MODEL", "some/model")
    monkeypatch.setenv("JUDGEFREE_MAX_NUM_SEQS", "12")
    launch = launch_from(["--max-num-seqs", "6", "--twin-wait-s", "2.5", "--enable-lora"])
    assert launch.model == launch.served_model_name == "some/model"
    assert launch.max_num_seqs == 6
    assert launch.more == ("--enable-lora",)
    assert environment(launch, is_cpu=False, inherited={}, cores=[0])[WAIT_VARIABLE] == "2.5"


def test_adapters_at_run_time_are_off_unless_a_rank_is_set() -> None:
    plain = Launch("m")
    assert "--enable-lora" not in arguments(plain, is_cpu=True)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environment(plain, is_cpu=True, inherited={}, cores=[0])
    adapted = launch_from(["--model", "some/model", "--max-lora-rank", "16", "--max-loras", "3"])
    given = arguments(adapted, is_cpu=True)
    assert "--enable-lora" in given
    assert given[given.index("--max-lora-rank") + 1] == "16"
    assert given[given.index("--max-loras") + 1] == "3"
    assert environment(adapted, is_cpu=True, inherited={}, cores=[0])["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


def test_the_ranks_that_the_settings_take_are_those_of_vllm() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == LORA_RANKS
    with pytest.raises(SettingsError, match=r"max_lora_rank = 12 .* must be 0 .* or one of vLLM's 1, 8, 16, 32"):
        launch_from(["--max-lora-rank", "12"])


def test_a_used_port_is_one_sentence_and_status_2(mllm_folder: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "workers.mllm", "--model", mllm_folder, "--port", port],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stderr == f"vLLM cannot listen on 127.0.0.1:{port}: Address already in use.\n"


@pytest.mark.parametrize("folder", ["./nowhere", "EMPTY"])
def test_a_missing_model_is_one_sentence_and_status_2(tmp_path: Path, folder: str) -> None:
    model = str(tmp_path) if folder == "EMPTY" else folder
    ended = subprocess.run(
        [sys.executable, "-m", "workers.mllm", "--model", model], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "model" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 2}'], "speculative decoding"),
        (["--speculative_config.method=ngram"], "speculative decoding"),
        (["--spec-method", "ngram"], "speculative decoding"),
        (["--pipeline-parallel-size", "2"], "pipeline parallelism"),
        (["-pp=2"], "pipeline parallelism"),
        (["--data-parallel-size=2"], "data parallelism"),
        (["--kv-transfer-config", "{}"], "a KV or encoder connector"),
        (["--scheduling-policy", "priority"], "priority scheduling"),
        (["--enable-batch-sharded-sampling"], "batch-sharded sampling"),
    ],
)
def test_flags_that_lockstep_does_not_work_with_are_named(flags: list[str], named: str) -> None:
    obstacle = obstacle_in(["--enable-lora", *flags])
    assert obstacle is not None
    assert obstacle.sentence.startswith(f"Paired decoding does not work with {named}: ")


def test_other_flags_pass() -> None:
    flags = ["--pipeline-parallel-size", "1", "-dp=1", "--scheduling-policy", "fcfs", "--tensor-parallel-size", "2"]
    assert obstacle_in(flags) is None


PLAIN = ["-m", SERVER, "--scheduler-cls", SCHEDULER, "--logits-processors", PROCESSOR]


@pytest.mark.parametrize("entry", [["-m", "workers.mllm"], PLAIN], ids=["our launcher", "plain vLLM"])
@pytest.mark.parametrize("flag", ["--pipeline-parallel-size=2", "--data-parallel-size=2", "--spec-method=ngram"])
def test_a_set_up_that_lockstep_does_not_work_with_is_one_sentence_and_status_2(
    mllm_folder: str, entry: list[str], flag: str
) -> None:
    ended = subprocess.run(
        [sys.executable, *entry, "--model", mllm_folder, flag],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    *logs, sentence = ended.stderr.splitlines()
    assert sentence.startswith("Paired decoding does not work with ")
    assert not any("Traceback" in line for line in logs)
