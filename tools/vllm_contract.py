"""Does a vLLM keep what paired decoding builds on? Reads its sources, imports nothing of it.

    python -m tools.vllm_contract [WHEEL | FOLDER]    (default: the vLLM installed here)

Our classes hook into methods of vLLM's scheduler that vLLM does not promise to keep. Most of what they take for granted
is read from our own sources: every name imported from vLLM, every method overridden, every `super()` call, every
attribute of the scheduler. The rest, what is read of other objects, stands in the tables below. Prints one line for
each breach and exits with 1 if there is any. `pip download vllm --no-deps` fetches the newest release's wheel.
"""

import argparse
import ast
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tools.source_tree import Class, Function, Root, SourceTree, is_of_self

ROOT = Path(__file__).parent.parent
ROOM = ROOT / "workers" / "mllm"

OVERRIDES = {
    "scheduler.Lockstep": {
        "add_request",
        "finish_requests",
        "schedule",
        "update_from_output",
        "_free_request",
        "_get_local_prefix_cache_hit",
        "_handle_blocked_waiting_request",
        "_preempt_request",
        "_reserve_prefill_lookahead",
    },
    "metrics.TwinMetrics": {"record", "log_engine_initialized"},
    "processor.PairedDecoding": {"validate_params", "is_argmax_invariant", "update_state", "apply"},
    "v2.PairedDecodingV2": {"validate_params", "add_request", "apply"},
}
"""Methods of ours that only work because vLLM calls them by these names."""

ASKED_BY_THE_SCHEDULER = {
    "_reserve_prefill_lookahead": 2,
    "_handle_blocked_waiting_request": 1,
    "_get_local_prefix_cache_hit": 1,
}
"""How often `Scheduler.schedule` itself must ask our hooks at least: in its running and in its waiting loop."""

READ_OF_OTHERS = {
    "vllm.v1.request.Request": (
        "request_id sampling_params num_tokens num_computed_tokens num_output_placeholders num_output_tokens "
        "num_prompt_tokens num_in_flight_tokens num_stale_output_tokens drop_stale_output output_token_ids status "
        "client_index lora_request is_finished take_events has_encoder_inputs is_prefill_chunk"
    ),
    "vllm.lora.request.LoRARequest": "lora_int_id",
    "vllm.v1.request.RequestStatus": "WAITING RUNNING FINISHED_ABORTED",
    "vllm.v1.core.kv_cache_manager.KVCacheManager": "coordinator block_pool truncate_computed_blocks watermark_blocks",
    "vllm.v1.core.kv_cache_coordinator.KVCacheCoordinator": "single_type_managers",
    "vllm.v1.core.single_type_kv_cache_manager.SingleTypeKVCacheManager": "block_size",
    "vllm.v1.core.sched.interface.PauseState": "UNPAUSED",
    "vllm.v1.core.sched.output.SchedulerOutput": "num_scheduled_tokens preempted_req_ids",
    "vllm.v1.core.block_pool.BlockPool": "get_num_free_blocks",
    "vllm.v1.core.sched.request_queue.RequestQueue": "add_request remove_requests __iter__",
    "vllm.v1.engine.EngineCoreOutput": "request_id new_token_ids finish_reason stop_reason events",
    "vllm.v1.engine.EngineCoreOutputs": "outputs scheduler_stats",
    "vllm.v1.metrics.stats.SchedulerStats": "num_kv_fetch_reqs_by_stage",
    "vllm.v1.engine.FinishReason": "ABORT",
    "vllm.sampling_params.SamplingParams": (
        "extra_args seed temperature top_p top_k min_p n presence_penalty frequency_penalty repetition_penalty "
        "min_tokens logit_bias allowed_token_ids bad_words structured_outputs thinking_token_budget sampling_type"
    ),
    "vllm.sampling_params.SamplingType": "RANDOM_SEED",
    "vllm.config.scheduler.SchedulerConfig": (
        "policy max_num_batched_tokens async_scheduling long_prefill_token_threshold"
    ),
    "vllm.config.speculative.SpeculativeConfig": "num_speculative_tokens",
    "vllm.config.parallel.ParallelConfig": "data_parallel_size data_parallel_index enable_batch_sharded_sampling",
    "vllm.config.vllm.VllmConfig": "speculative_config model_config parallel_config scheduler_config lora_config",
    "vllm.config.model.ModelConfig": "get_vocab_size",
    "vllm.v1.worker.gpu.sample.logits_processor.interface.LogitsContext": (
        "expanded_idx_mapping idx_mapping_np expanded_local_pos pos"
    ),
    "vllm.v1.worker.gpu.sample.logits_processor.interface.LogitsProcRequestState": (
        "device max_num_reqs vocab_size prompt_len"
    ),
    "vllm.v1.worker.gpu.buffer_utils.UvaBackedTensor": "gpu",
    "vllm.platforms.interface.Platform": "is_cpu",
}
"""What our code reads of objects of vLLM's other than the scheduler it is."""


def breaches(tree: SourceTree, room: Path = ROOM) -> list[str]:
    """Where the vLLM in `tree` no longer fits our sources in `room`, a sentence each; empty when it fits."""
    found: list[str] = []
    ours, unseen = SourceTree(room), set(OVERRIDES)
    for file in sorted(room.glob("*.py")):
        module = ours.module(file.stem)
        assert module is not None
        imported = _imported(module)
        found += [
            f"{file.name}: {source} has no {name}."
            for name, source in imported.items()
            if not tree.has_name(source, name)
        ]
        found += [
            f"{file.name}: {source} has no {name}."
            for source, name in sorted(_of_modules(module))
            if not tree.has_name(source, name)
        ]
        found += _unfit_calls(file.name, module, imported, tree)
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                unseen.discard(f"{file.stem}.{node.name}")
                found += _unfit_class(file.stem, node, imported, tree)
    found += [f"{label} is in the table of overrides and not among our classes." for label in sorted(unseen)]
    return [*found, *_missing_attributes(tree), *_unasked(tree)]


def _imported(module: ast.Module) -> dict[str, str]:
    """Every name imported from vLLM -> the module it comes from."""
    return {
        alias.name: node.module
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vllm"
        for alias in node.names
    }


def _of_modules(module: ast.Module) -> set[tuple[str, str]]:
    """(the module, the name) of what is read or replaced in modules of vLLM that are imported whole, `as` a name."""
    nodes = list(ast.walk(module))
    modules = {
        alias.asname: alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname and alias.name.split(".")[0] == "vllm"
    }
    return {
        (modules[node.value.id], node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    }


def _unfit_calls(file: str, module: ast.Module, imported: dict[str, str], tree: SourceTree) -> Iterator[str]:
    """Calls of functions imported from vLLM whose arguments no longer fit."""
    for call in (node for node in ast.walk(module) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in imported:
            found = tree.definition(imported[call.func.id], call.func.id)
            if found and isinstance(found[1], Function) and (flaw := _unfit_arguments(call, found[1], bound=False)):
                yield f"{file}: {call.func.id} {flaw}."


def _unfit_class(stem: str, node: ast.ClassDef, imported: dict[str, str], tree: SourceTree) -> Iterator[str]:
    """What a class of ours that inherits from one of vLLM's overrides, calls or reads in vain."""
    names = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in imported]
    bases = [base for name in names if (base := tree.class_of(imported[name], name))]
    if not bases:
        return
    label = f"{stem}.{node.name}"
    methods = {item.name: item for item in node.body if isinstance(item, Function)}
    for name in sorted(OVERRIDES.get(label, set())):
        theirs = next((found for base in bases if (found := base.method(name))), None)
        if name not in methods:
            yield f"{label}.{name} is in the table of overrides and not in our class."
        elif theirs is None:
            yield f"{label}.{name} overrides nothing: {bases[0].name} has no such method."
        elif flaw := _unfit_override(methods[name], theirs):
            yield f"{label}.{name} {flaw}."
    yield from _unfit_super_calls(label, node, bases)
    own = {*methods, *(item.attr for item in ast.walk(node) if is_of_self(item) and isinstance(item.ctx, ast.Store))}
    read = {item.attr for item in ast.walk(node) if is_of_self(item) and isinstance(item.ctx, ast.Load)}
    for name in sorted(read - own):
        if not any(base.has(name) for base in bases):
            yield f"{label} reads self.{name}, which {bases[0].name} does not have."


def _unfit_super_calls(label: str, node: ast.ClassDef, bases: list[Class]) -> Iterator[str]:
    for call in (item for item in ast.walk(node) if isinstance(item, ast.Call)):
        match call.func:
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name) if name != "__init__":
                theirs = next((found for base in bases if (found := base.method(name))), None)
                flaw = "is gone" if theirs is None else _unfit_arguments(call, theirs, bound=True)
                if flaw:
                    yield f"{label} calls super().{name}, which {flaw}."


def _unfit_override(ours: Function, theirs: Function) -> str | None:
    """Why a call that fits `theirs` would not fit `ours`; None when every such call does."""
    wanted = [argument.arg for argument in (*theirs.args.posonlyargs, *theirs.args.args)]
    taken = [argument.arg for argument in (*ours.args.posonlyargs, *ours.args.args)]
    if ours.args.vararg is None or ours.args.kwarg is None:
        if unknown := [name for name in wanted if name not in taken]:
            return f"does not take {', '.join(unknown)}, which vLLM may pass"
        keywords = {argument.arg for argument in theirs.args.kwonlyargs}
        if unknown := sorted(keywords - {*taken, *(argument.arg for argument in ours.args.kwonlyargs)}):
            return f"does not take {', '.join(unknown)}, which vLLM may pass"
    if wanted[: len(taken)] != taken[: len(wanted)]:
        return f"takes ({', '.join(taken)}) where vLLM gives ({', '.join(wanted)})"
    if len(taken) - len(ours.args.defaults) > len(wanted):
        return f"wants {', '.join(taken[len(wanted) :])}, which vLLM does not give"
    return None


def _unfit_arguments(call: ast.Call, function: Function, bound: bool) -> str | None:
    """Why the arguments of a call do not fit a function; None when they do, or when a `*` hides them."""
    parameters = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)][bound:]
    required = parameters[: len(parameters) - len(function.args.defaults)]
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(k.arg is None for k in call.keywords):
        return None
    if len(call.args) > len(parameters) and function.args.vararg is None:
        return f"takes only ({', '.join(parameters)})"
    named = {keyword.arg for keyword in call.keywords if keyword.arg}
    known = {*parameters, *(argument.arg for argument in function.args.kwonlyargs)}
    if function.args.kwarg is None and (unknown := sorted(named - known)):
        return f"does not take {', '.join(unknown)}"
    if missing := [name for name in required[len(call.args) :] if name not in named]:
        return f"also wants {', '.join(missing)}"
    return None


def _missing_attributes(tree: SourceTree) -> Iterator[str]:
    for path, names in READ_OF_OTHERS.items():
        module, _, name = path.rpartition(".")
        found = tree.class_of(module, name)
        if found is None:
            yield f"There is no {path}."
        else:
            yield from (f"{path} has no {attribute}." for attribute in names.split() if not found.has(attribute))


def _unasked(tree: SourceTree) -> Iterator[str]:
    scheduler = tree.class_of("vllm.v1.core.sched.scheduler", "Scheduler")
    schedule = scheduler.method("schedule") if scheduler else None
    if schedule is None:
        yield "There is no vllm.v1.core.sched.scheduler.Scheduler.schedule."
        return
    asked = [node.func.attr for node in ast.walk(schedule) if isinstance(node, ast.Call) if is_of_self(node.func)]
    for name, least in ASKED_BY_THE_SCHEDULER.items():
        if asked.count(name) < least:
            yield f"Scheduler.schedule asks {name} {asked.count(name)} times; lockstep needs it {least} times."


def root_of(path: Path | None) -> tuple[str, Root]:
    """A name for people and the root of the sources: of a wheel, of a folder, or of what is installed (None)."""
    if path is None:
        spec = find_spec("vllm")
        if spec is None or spec.origin is None:
            raise SystemExit("vLLM is not installed here; name a wheel or a folder.")
        folder = Path(spec.origin).parent.parent
        found = next(folder.glob("vllm*.dist-info"))
        return found.stem.replace("-", " ", 1), folder
    if not path.exists():
        raise SystemExit(f"There is no {path}.")
    return path.name, path if path.is_dir() else zipfile.Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vllm", nargs="?", type=Path, help="a wheel, or a folder that holds the package vllm")
    name, root = root_of(parser.parse_args().vllm)
    tree = SourceTree(root)
    if tree.module("vllm") is None:
        raise SystemExit(f"There is no package vllm in {name}.")
    found = breaches(tree)
    for breach in found:
        print(breach)  # noqa: T201 - the answer of a command
    print(f"{name}: {len(found)} breaches" if found else f"{name} keeps the contract")  # noqa: T201
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
