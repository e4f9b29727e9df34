"""A small untrained encoder in open_clip's own layout, and verifiers on it: as an object here, as a process there."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from pairs import model
from pairs.blobs import Blobs
from pairs.model import Candidate, ImageRef, Pair, PairId, RawAnswer
from pairs.queue import Depth, Queue
from pairs.settings import Settings
from pairs.store import PairFilter, Store
from pairs.tracing import Tracing
from tests.conftest import MakeSettings, free_port
from tests.examples import a_candidate, a_job
from workers.clip.encoder import Encoder
from workers.clip.health import Metrics
from workers.clip.images import Images
from workers.clip.scorer import Scorer
from workers.clip.verdict import Provenance
from workers.clip.verifier import Verifier

ROOT = Path(__file__).parents[2]
CONTEXT = 16
SPECIAL = ["<pad>", "<unk>", "<s>"]
FIRST_LETTER = len(SPECIAL)
"""The token of "a"; the other letters follow it."""
VOCABULARY = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"


NOTHING_TRACED = Tracing()


def a_clip_folder(folder: Path) -> Path:
    """An untrained CLIP of 50,000 weights in `folder`; its tokens are single characters, its text context 16."""
    from pairs.torchvision_cpu import declare_missing_ops

    declare_missing_ops()
    from open_clip import CLIP

    folder.mkdir(parents=True, exist_ok=True)
    words = [*SPECIAL, *VOCABULARY, "</s>"]
    text = {"context_length": CONTEXT, "vocab_size": len(words), "width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(1)
    save_file(CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    written = config | {"text_cfg": text | {"hf_tokenizer_name": "characters"}}
    half = [0.5, 0.5, 0.5]
    preprocess = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": written, "preprocess_cfg": preprocess}))
    _save_tokenizer(folder, words)
    return folder


def _save_tokenizer(folder: Path, words: list[str]) -> None:
    order = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(order, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", order["<s>"]), ("</s>", order["</s>"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    written = special | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(written))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def encoder(clip_folder: Path) -> Encoder:
    return Encoder.load(str(clip_folder), "cpu")


def an_image(seed: int) -> bytes:
    """A PNG of random colours, 40 x 32 pixels."""
    colours = np.random.default_rng(seed).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(colours).save(written, "PNG")
    return written.getvalue()


def answers(seed: int) -> tuple[RawAnswer, RawAnswer]:
    """Two answers of a few words that nobody else's seed has."""
    texts = f"A ring no {seed}. A red cup.", f"A cup no {seed}. A blue dot. It is {seed}."
    normal, injected = (RawAnswer(text=text, finish_reason="stop") for text in texts)
    return normal, injected


@dataclass(frozen=True)
class World:
    """A queue, a store and images of a test's own, and what a user could see of them."""

    settings: Settings
    queue: Queue
    store: Store
    blobs: Blobs

    async def enqueue(self, candidate: Candidate) -> PairId:
        """Bring `candidate` onto its stream as the gateway does: admitted as a job, then forwarded."""
        await self.queue.admit([candidate.job])
        [delivery] = await self.queue.take_jobs("pairer", 1, 1)
        assert await self.queue.forward(delivery, candidate)
        return candidate.job.id

    async def candidate(self, seed: int, image: bytes | None = None) -> Candidate:
        """A candidate of its own image, which rests in the image store."""
        sha256 = await self.blobs.put(image or an_image(seed))
        ref = ImageRef(sha256=sha256, width=40, height=32, media_type="image/png")
        normal, injected = answers(seed)
        return a_candidate(a_job(image=ref), normal=normal, injected=injected)

    async def enqueue_some(self, count: int) -> list[PairId]:
        return [await self.enqueue(await self.candidate(seed)) for seed in range(count)]

    async def stored(self) -> list[Pair]:
        return [pair async for batch in self.store.scan(PairFilter()) for pair in batch]

    async def settled(self, timeout_s: float = 60) -> Depth:
        """The queue's depth once no candidate waits or is in work."""
        await eventually(self._is_settled, timeout_s)
        return await self.queue.depth()

    async def _is_settled(self) -> bool:
        return (await self.queue.depth()).candidates == 0


async def eventually(is_so: Callable[[], "asyncio.Future[bool] | object"], timeout_s: float = 60) -> None:
    """Wait until the awaited `is_so()` holds."""
    deadline = time.monotonic() + timeout_s
    while not await is_so():  # type: ignore[misc]
        assert time.monotonic() < deadline, f"not so after {timeout_s} s: {is_so}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def a_world(settings: Settings) -> AsyncIterator[World]:
    queue, store = await Queue.connect(settings), await Store.open(settings.store_url)
    yield World(settings, queue, store, Blobs(settings.images_url))
    await queue.close()
    await store.close()


@pytest.fixture
async def world(make_settings: MakeSettings, clip_folder: Path) -> AsyncIterator[World]:
    settings = make_settings(clip=str(clip_folder), clip_device="cpu", lease_s=2, verifier_port=free_port())
    async with a_world(settings) as made:
        yield made


Verifying = Callable[..., AbstractAsyncContextManager[Metrics]]


@pytest.fixture
def verifying(encoder: Encoder) -> Verifying:
    """A verifier at work in this process, on the world given, until the block ends."""

    @asynccontextmanager
    async def work(
        world: World, encoder: Encoder = encoder, tracing: Tracing = NOTHING_TRACED
    ) -> AsyncIterator[Metrics]:
        scorer = Scorer(encoder, Images(world.blobs, encoder), world.settings.scorer)
        by = Provenance(model.Verifier(model="tiny-clip", scorer=scorer.name), encoder.versions)
        stopping, metrics = asyncio.Event(), Metrics()
        verifier = Verifier(world.queue, world.store, scorer, world.settings, by, metrics, stopping, tracing)
        task = asyncio.create_task(verifier.run())
        try:
            yield metrics
        finally:
            stopping.set()
            await asyncio.wait_for(task, 30)

    return work


@dataclass
class VerifierProcess:
    process: "subprocess.Popen[bytes]"
    log: Path

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def end(self, number: signal.Signals, timeout_s: float = 30) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def a_verifier(settings: Settings, log: Path, **changes: object) -> VerifierProcess:
    """`python -m workers.clip` on `settings`, just started."""
    names = (
        "redis_url", "namespace", "data_dir", "clip", "clip_device", "scorer", "batch_size", "lease_s", "verifier_port"
    )  # fmt: skip
    values = {name: getattr(settings, name) for name in names} | changes
    environment = os.environ | {f"JUDGEFREE_{name.upper()}": str(value) for name, value in values.items()}
    with log.open("wb") as written:
        process = subprocess.Popen([sys.executable, "-m", "workers.clip"], cwd=ROOT, env=environment, stderr=written)
    return VerifierProcess(process, log)


StartVerifier = Callable[..., VerifierProcess]


@pytest.fixture
def start_verifier(world: World, tmp_path: Path) -> Iterator[StartVerifier]:
    """Start `python -m workers.clip` on the world's settings; what still runs at the end of the test is killed."""
    started: list[VerifierProcess] = []

    def start(**changes: object) -> VerifierProcess:
        started.append(a_verifier(world.settings, tmp_path / f"verifier-{len(started)}.log", **changes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
