"""Which vLLM is let in: the installed one keeps the contract, another one is refused with one sentence."""

import ast
import logging
import math
import os
import subprocess
import sys
import time
from collections import deque
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
import prometheus_client
import pytest
import torch

from tests.processes import ROOT
from tools.source_tree import SourceTree, attributes_of, is_of_self
from tools.vllm_contract import READ_OF_OTHERS, ROOM, breaches, root_of
from workers.mllm.launch import PROCESSOR, SCHEDULER, SERVER
from workers.mllm.versions import SUPPORTED, TESTED, check_version

OURS = ["--scheduler-cls", SCHEDULER, "--logits-processors", PROCESSOR]
ENTRIES = {
    "our launcher": ["-m", "workers.mllm", "--model", "demo"],
    "plain vllm serve": ["-m", SERVER, "--model", "demo", *OURS],
    "vLLM from Python, when it loads the processor": ["-c", "import workers.mllm.processor"],
}


def test_the_installed_vllm_is_the_one_that_is_said_to_be_tested() -> None:
    assert check_version().release == TESTED
    assert TESTED in SUPPORTED


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_another_version_is_one_sentence_and_status_2(tmp_path: Path, entry: list[str]) -> None:
    other = tmp_path / "vllm-0.31.4+cpu.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.4+cpu\n")
    found_first = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ended = subprocess.run(
        [sys.executable, *entry], env=found_first, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    *logs, sentence = ended.stderr.splitlines()
    assert sentence == "Paired decoding supports vLLM 0.32.x and 0.33.x, and vllm 0.31.4+cpu is installed."
    assert not any("Traceback" in line for line in logs)


def test_the_installed_vllm_keeps_the_contract() -> None:
    assert breaches(SourceTree(root_of(None)[1])) == []


MODULE = "vllm.v1.core.sched.scheduler"
ARGUMENTS = "self, request: Request, delay_free_blocks: bool = False"
CHANGES = [
    (
        MODULE,
        (ARGUMENTS, f"{ARGUMENTS}, why: str = ''"),
        "scheduler.Lockstep._free_request does not take why, which vLLM may pass.",
    ),
    (
        MODULE,
        ("def _handle_blocked_waiting_request", "def _pass_over"),
        "scheduler.Lockstep._handle_blocked_waiting_request overrides nothing: Scheduler has no such method.",
    ),
    (
        MODULE,
        ("= self._reserve_prefill_lookahead(", "= min("),
        "Scheduler.schedule asks _reserve_prefill_lookahead 0 times; lockstep needs it 2 times.",
    ),
    (
        MODULE,
        ("self.max_num_scheduled_tokens", "self.step_budget"),
        "scheduler.Lockstep reads self.max_num_scheduled_tokens, which Scheduler does not have.",
    ),
    (
        "vllm.v1.request",
        ("num_output_placeholders", "num_placeholders"),
        "vllm.v1.request.Request has no num_output_placeholders.",
    ),
    (
        "vllm.v1.request",
        ("num_stale_output_tokens", "num_stale_tokens"),
        "vllm.v1.request.Request has no num_stale_output_tokens.",
    ),
    (
        "vllm.v1.core.sched.output",
        ("preempted_req_ids", "preempted"),
        "vllm.v1.core.sched.output.SchedulerOutput has no preempted_req_ids.",
    ),
    (
        "vllm.lora.model_manager",
        ("from_layer_logits_processor", "adapted_logits_processor"),
        "spare_slot.py: vllm.lora.model_manager has no from_layer_logits_processor.",
    ),
    (
        "vllm.v1.sample.logits_processor.builtin",
        ("def process_dict_updates(", "def dict_updates("),
        "processor.py: vllm.v1.sample.logits_processor.builtin has no process_dict_updates.",
    ),
]


@pytest.mark.parametrize(("module", "change", "breach"), CHANGES)
def test_a_change_of_what_we_hook_into_is_told_by_name(module: str, change: tuple[str, str], breach: str) -> None:
    _, root = root_of(None)
    source = root.joinpath(module.replace(".", "/") + ".py").read_text()
    assert change[0] in source
    assert breach in breaches(SourceTree(root, {module: ast.parse(source.replace(*change))}))


FOREIGN = (
    *(str, dict, list, set, int, deque, object, os, time, math, blake2b(), logging.Logger),
    *(torch, torch.Tensor, torch.nn, torch.device, np, np.ndarray, msgspec, msgspec.structs),
    *(prometheus_client.Counter, prometheus_client.Gauge),
)
"""What our sources read attributes of, beside vLLM's objects and our own."""


def test_every_attribute_that_is_read_of_vllms_objects_stands_in_the_contract() -> None:
    modules = {file: ast.parse(file.read_text()) for file in ROOM.glob("*.py")}
    nodes = [node for module in modules.values() for node in ast.walk(module)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    ours = {name for node in classes for name in attributes_of(node)}
    ours |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    ours |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    known = {name for thing in FOREIGN for name in dir(thing)} | ours
    listed = {name for names in READ_OF_OTHERS.values() for name in names.split()}
    unlisted = {
        f"{file.name}:{node.lineno} {ast.unparse(node)}"
        for file, module in modules.items()
        if any(isinstance(node, ast.ImportFrom) and str(node.module).startswith("vllm") for node in ast.walk(module))
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and not is_of_self(node) and node.attr not in known | listed
    }
    assert unlisted == set()
