"""Images that are mixed with noise: what that takes in memory, however many pairs want it at once."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pairs.model import Hallucination, Method
from service.images import normalise
from service.pairer import MIXES_AT_A_TIME, _injected_questions
from tests.examples import a_job
from tests.service.pictures import picture

_SIDE = 768
_JOB = a_job(hallucination=Hallucination(method=Method.NOISE, ratio=0.5))
_TAKES = 48 * _SIDE**2


@pytest.fixture(scope="module")
def png() -> bytes:
    return normalise(picture(size=(_SIDE, _SIDE)), max_pixels=_SIDE**2, max_side=_SIDE).content


@contextmanager
def _traced() -> Iterator[list[int]]:
    """The most memory that was taken within, once it is left."""
    most: list[int] = []
    tracemalloc.start()
    try:
        yield most
        most.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


async def _noisy(png: bytes, seed: int, mixing: asyncio.Semaphore) -> bytes:
    [question] = await _injected_questions(_JOB, png, seed, mixing)
    assert question.png is not None
    return question.png


async def test_an_image_that_is_mixed_with_noise_takes_48_bytes_a_pixel(png: bytes) -> None:
    with _traced() as most:
        noisy = await _noisy(png, 0, asyncio.Semaphore(MIXES_AT_A_TIME))
    assert _TAKES * 0.9 < most[0] < _TAKES * 1.05 + len(noisy)


async def test_two_images_are_mixed_at_a_time(png: bytes) -> None:
    mixing = asyncio.Semaphore(MIXES_AT_A_TIME)
    with _traced() as most:
        noisy = await asyncio.gather(*(_noisy(png, seed, mixing) for seed in range(6)))
    assert len(set(noisy)) == 6
    assert most[0] < 2 * _TAKES * 1.05 + sum(map(len, noisy))
