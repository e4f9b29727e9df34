"""Adapters at run time, on a real vLLM: asked for by name or promoted, loaded at need, loaded again when forgotten."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from judgefree.cli import run
from pairs.adapters import Adapter, Adapters
from pairs.clock import now
from pairs.model import Candidate, Policy
from pairs.settings import local_model
from service.problems import TYPE_PREFIX
from tests.conftest import MakeSettings
from tests.e2e.scenes import scene_pngs
from tests.integration.test_pairer import candidates, submit
from tests.service.conftest import Served, serving
from workers.mllm.reference import Decoded, TwoPass

MODEL = "demo"
RANK = 8
MAX_TOKENS = 32
RATIO = 0.5
PROMPT = "Describe the image."
SCENES = scene_pngs(3, seed=5)
TIE = 1e-4
LEASE_S = 600
"""The reference computes while candidates are in hand, and none may be handed out a second time."""


@dataclass(frozen=True)
class Trained:
    """An adapter's folder, and the reference with it merged into the weights."""

    folder: Path
    merged: TwoPass


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Two adapters as PEFT saves them: random low-rank changes to the linear layers of the demo's language model."""
    import torch
    from peft import LoraConfig, get_peft_model

    made: dict[str, Trained] = {}
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        config = LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights=False, target_modules=r".*language_model.*_proj")
        reference = TwoPass(local_model(MODEL, "mllm"))
        adapted = get_peft_model(reference.model, config)
        folder = tmp_path_factory.mktemp(name)
        adapted.save_pretrained(folder)
        adapted.merge_and_unload()
        made[name] = Trained(folder, reference)
    return made


@pytest.fixture
async def adapting(make_settings: MakeSettings, lora_url: str, trained: dict[str, Trained]) -> AsyncIterator[Served]:
    """A gateway that knows both adapters; none is promoted."""
    async with serving(make_settings(mllm_url=lora_url, max_tokens=MAX_TOKENS, lease_s=LEASE_S)) as running:
        for name, one in trained.items():
            await register(running, name, one.folder)
        yield running


async def register(served: Served, name: str, folder: Path) -> None:
    registry = await Adapters.open(served.settings.store_url)
    await registry.register(
        Adapter(name=name, model=MODEL, path=str(folder), snapshot_sha256="0" * 64, round=1, created_at=now())
    )
    await registry.close()


async def promote(served: Served, name: str) -> None:
    registry = await Adapters.open(served.settings.store_url)
    await registry.promote(MODEL, name, "test")
    await registry.close()
    await until_default(served, name)


async def until_default(served: Served, name: str | None) -> None:
    """Wait until requests that name no adapter get `name`."""
    for _ in range(100):
        policy = (await served.http.get("/v1/stats")).json()["model"]["policy"]
        if policy == {"model": MODEL, "adapter": name}:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"the default is {policy} after 10 s, not {name}")


async def answered(served: Served, **fields: Any) -> list[Candidate]:
    """The candidates of the scenes, in order."""
    ids = [pair["id"] for pair in await submit(served, SCENES, hallucination__ratio=RATIO, **fields)]
    found = await candidates(served, len(ids))
    return [found[pair_id].payload for pair_id in ids]


def is_of(answered: list[Candidate], name: str | None, model: TwoPass) -> bool:
    """Whether these are the answers of the reference, said to be of the adapter `name`."""
    assert {candidate.policy for candidate in answered} == {Policy(model=MODEL, adapter=name)}
    assert {candidate.job.adapter for candidate in answered} == {name}
    return all(
        is_same(answer.text, expected(model, scene, ratio))
        for candidate, scene in zip(answered, SCENES, strict=True)
        for answer, ratio in ((candidate.normal, 0.0), (candidate.injected, RATIO))
    )


@cache
def expected(model: TwoPass, scene: bytes, ratio: float) -> Decoded:
    return model.answer(PROMPT, Image.open(BytesIO(scene)), ratio, MAX_TOKENS)


def is_same(text: str, answer: Decoded) -> bool:
    return text.strip() == answer.text or min(answer.leads) < TIE  # nearer than float noise: either token may win


async def test_pairs_of_two_adapters_and_of_neither_at_once_are_each_exact(
    adapting: Served, trained: dict[str, Trained]
) -> None:
    asked = [("first", "first"), ("base", None), ("second", "second"), ("first", "first")]
    accepted = [await submit(adapting, SCENES, hallucination__ratio=RATIO, adapter=given) for given, _ in asked]
    found = await candidates(adapting, len(asked) * len(SCENES))
    references = {name: one.merged for name, one in trained.items()} | {None: TwoPass(local_model(MODEL, "mllm"))}
    for (_, name), pairs in zip(asked, accepted, strict=True):
        assert is_of([found[pair["id"]].payload for pair in pairs], name, references[name])
    assert not is_of([found[pair["id"]].payload for pair in accepted[1]], None, references["first"])


async def test_the_promoted_adapter_answers_who_names_none_until_it_is_rolled_back(
    adapting: Served, trained: dict[str, Trained], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        await promote(adapting, name)
        assert is_of(await answered(adapting), name, trained[name].merged)
    monkeypatch.setenv("JUDGEFREE_DATA_DIR", str(adapting.settings.data_dir))
    earlier: tuple[str | None, ...] = ("first", None)
    for back in earlier:
        assert await asyncio.to_thread(run, ["rollback"]) == 0
        assert f"{MODEL} is served with {back or 'base'} from now on" in capsys.readouterr().out
        await until_default(adapting, back)
        assert {candidate.policy.adapter for candidate in await answered(adapting)} == {back}


async def test_what_the_model_forgot_is_loaded_again(
    adapting: Served, lora_url: str, trained: dict[str, Trained]
) -> None:
    await answered(adapting, adapter="first")
    async with httpx.AsyncClient() as http:
        forgotten = await http.post(f"{lora_url}/v1/unload_lora_adapter", json={"lora_name": "first"})
        assert forgotten.status_code == 200
    assert is_of(await answered(adapting, adapter="first"), "first", trained["first"].merged)
    assert (await adapting.gateway.queue.depth()).dead == 0


async def refusal(served: Served, **fields: str) -> tuple[int, str, str]:
    """Status, type and detail of the problem that a request is answered with."""
    answer = await served.http.post("/v1/pairs", files={"image": SCENES[0]}, data=fields)
    problem = answer.json()
    return answer.status_code, problem["type"].removeprefix(TYPE_PREFIX), problem["detail"]


async def test_an_unknown_adapter_is_refused_with_the_names_of_those_there_are(adapting: Served) -> None:
    told = "adapter: demo has no adapter third; there are first, second, base."
    assert await refusal(adapting, adapter="third") == (422, "unknown-adapter", told)


async def test_an_adapter_that_cannot_be_loaded_is_refused(
    adapting: Served, lora_url: str, trained: dict[str, Trained]
) -> None:
    await register(adapting, "gone", Path("/no/such/folder"))
    status, kind, detail = await refusal(adapting, adapter="gone")
    assert (status, kind) == (502, "adapter-not-loaded")
    assert "does not find it in the folder" in detail
    assert "/no" not in detail
    async with httpx.AsyncClient(timeout=60) as http:
        request = {"lora_name": "taken", "lora_path": str(trained["first"].folder)}
        assert (await http.post(f"{lora_url}/v1/load_lora_adapter", json=request)).status_code == 200
    await register(adapting, "taken", trained["second"].folder)
    status, kind, detail = await refusal(adapting, adapter="taken")
    assert (status, kind) == (502, "adapter-not-loaded")
    assert "another adapter under the name taken" in detail


async def test_an_adapter_of_the_settings_need_not_be_registered(
    make_settings: MakeSettings, lora_url: str, trained: dict[str, Trained]
) -> None:
    async with serving(
        make_settings(mllm_url=lora_url, adapter="its-own", max_tokens=MAX_TOKENS, lease_s=LEASE_S)
    ) as served:
        assert (await served.http.get("/readyz")).status_code == 503
        assert (await refusal(served))[1] == "model-unavailable"
        async with httpx.AsyncClient(timeout=60) as http:
            request = {"lora_name": "its-own", "lora_path": str(trained["first"].folder)}
            assert (await http.post(f"{lora_url}/v1/load_lora_adapter", json=request)).status_code == 200
        await served.gateway.watch.look()
        assert is_of(await answered(served), "its-own", trained["first"].merged)
        assert {candidate.policy.adapter for candidate in await answered(served, adapter="base")} == {None}


async def test_a_vllm_that_takes_no_adapters_is_told_apart(make_settings: MakeSettings, mllm_url: str) -> None:
    async with serving(make_settings(mllm_url=mllm_url)) as served:
        await register(served, "first", Path("/some/folder"))
        status, kind, detail = await refusal(served, adapter="first")
        assert (status, kind) == (502, "adapter-not-loaded")
        assert "judgefree up --max-lora-rank 16" in detail
