"""The page in a real browser: it shows what the gateway knows, and asks for a key where one is needed."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pairs.blobs import Blobs
from pairs.model import Decision
from pairs.queue import Queue
from pairs.settings import Settings
from pairs.store import Store
from tests.conftest import MakeSettings, free_port
from tests.examples import a_job, a_pair
from tests.processes import running_part
from tests.service.pictures import picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_BROWSER = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]


async def _arranged(settings: Settings) -> None:
    """A kept and a swapped pair in the store, a dead letter, and a job that waits."""
    sha256 = await Blobs(settings.images_url).put(picture())
    store = await Store.open(settings.store_url)
    made = [a_pair(decision) for decision in (Decision.KEPT, Decision.SWAPPED)]
    await store.insert(
        [one.model_copy(update={"image": one.image.model_copy(update={"sha256": sha256})}) for one in made]
    )
    await store.close()
    queue = await Queue.connect(settings)
    await queue.admit([a_job(), a_job()])
    [delivery] = await queue.take_jobs("another", 1, 0.1)
    await queue.fail(delivery, "the twins <b>came</b> back unequal", may_retry=False)
    await queue.close()


def _seen(settings: Settings, folder: Path) -> str:
    """The page's document once its scripts have run."""
    port = free_port()
    environment = {
        "JUDGEFREE_REDIS_URL": settings.redis_url,
        "JUDGEFREE_NAMESPACE": settings.namespace,
        "JUDGEFREE_DATA_DIR": str(settings.data_dir),
        "JUDGEFREE_MLLM_URL": settings.mllm_url,
        "JUDGEFREE_API_KEYS": " ".join(settings.api_keys),
    }
    url = f"http://127.0.0.1:{port}"
    with running_part("service", ["--port", str(port)], environment, f"{url}/healthz", folder / "log"):
        shown = subprocess.run(
            [str(CHROMIUM), *_BROWSER, f"--user-data-dir={folder / 'browser'}", url],
            capture_output=True, text=True, timeout=90, check=True,
        )  # fmt: skip
    return shown.stdout


async def test_the_page_shows_pairs_scores_counts_and_dead_letters(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(mllm_url=f"http://127.0.0.1:{free_port()}")
    await _arranged(settings)
    document = await asyncio.to_thread(_seen, settings, tmp_path)
    text = re.sub(r"<[^>]*>", " ", document)
    for told in (
        "chosen (normal) 0.600",
        "chosen (injected) 0.200",
        "There is a blue ring.",
        "dead letters",
        "kept · 50 %",
    ):
        assert told in text, told
    assert "the twins &lt;b&gt;came&lt;/b&gt; back unequal" in document
    assert document.count('src="blob:') == 2
    assert "the model is away" in text


async def test_the_page_asks_for_a_key_where_one_is_needed(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(mllm_url=f"http://127.0.0.1:{free_port()}", api_keys=("secret",))
    document = await asyncio.to_thread(_seen, settings, tmp_path)
    form = re.search(r'<form id="key-form"[^>]*>', document)
    assert form
    assert "hidden" not in form[0]
    assert "Send the API key" in document
