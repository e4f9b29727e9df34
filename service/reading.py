"""Pairs as they stand: in the store when finished, else on the queue."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

import structlog

from pairs.errors import NotReviewable, QueueUnavailable, StoreUnavailable, UnknownPair
from pairs.model import Pair, PairId, Status, Verdict
from service.admission import Admission
from service.gateway import Gateway

_SETTLED = (Status.DONE, Status.FAILED)
_LOOK_AGAIN_S = 1.0

_log = structlog.get_logger(__name__)


async def present_pairs(gateway: Gateway, pair_ids: Sequence[PairId]) -> list[Pair]:
    """The pairs as they stand now, in order, without those that are not known."""
    found = await gateway.store.get_many(pair_ids)
    if missing := [pair_id for pair_id in pair_ids if pair_id not in found]:
        found |= await gateway.queue.in_flight(missing)
    if missing := [pair_id for pair_id in missing if pair_id not in found]:
        found |= await gateway.store.get_many(missing)  # it may have been finished between the two looks
    return [found[pair_id] for pair_id in pair_ids if pair_id in found]


async def settled_pairs(gateway: Gateway, pair_ids: Sequence[PairId], timeout_s: float) -> list[Pair]:
    """The pairs once all are done or failed, or as they stand after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await present_pairs(gateway, pair_ids)
        waiting = [pair.id for pair in found if pair.status not in _SETTLED]
        remaining_s = deadline - time.monotonic()
        if not waiting or remaining_s <= 0:
            return found
        await gateway.doorbell.wait(waiting, min(remaining_s, _LOOK_AGAIN_S))


async def accepted_pairs(gateway: Gateway, admission: Admission, timeout_s: float) -> list[Pair]:
    """As `settled_pairs`; while queue or store is away, the pairs as they were accepted.

    What was accepted must not be answered with an error: a client without an idempotency key would send it again. A
    request repeated under its key may be repeated once more, so that raises QueueUnavailable or StoreUnavailable.
    """
    if timeout_s <= 0 and len(admission.queued) == len(admission.pair_ids):
        return admission.queued  # accepted a moment ago, and nobody waits: there is nothing to look up
    try:
        return await settled_pairs(gateway, admission.pair_ids, timeout_s)
    except (QueueUnavailable, StoreUnavailable) as error:
        if not admission.queued:
            raise
        _log.warning("accepted, and cannot be read just now", type=error.type, cause=repr(error.__cause__))
        return admission.queued


def are_settled(found: Sequence[Pair]) -> bool:
    return all(pair.status in _SETTLED for pair in found)


async def pair_of(gateway: Gateway, text: str, timeout_s: float = 0) -> Pair:
    """The pair with id `text`, settled or as it stands after `timeout_s`; raises UnknownPair, for what is no id too."""
    found = await settled_pairs(gateway, [_pair_id(text)], timeout_s)
    if not found:
        raise UnknownPair("There is no pair with this id.")
    return found[0]


async def image_of(gateway: Gateway, pair: Pair) -> bytes:
    """The pair's stored image, a PNG."""
    try:
        return await gateway.blobs.get(pair.image.sha256)
    except OSError as error:
        raise StoreUnavailable(f"The image of pair {pair.id} cannot be read just now.") from error


async def review(gateway: Gateway, text: str, verdict: Verdict) -> Pair:
    """Set a person's verdict; raises UnknownPair, or NotReviewable for a pair without answers yet."""
    pair = await pair_of(gateway, text)
    if pair.status is not Status.DONE:
        raise NotReviewable(f"The pair is {pair.status}; there is nothing to review.")
    return await gateway.store.review(pair.id, verdict)


async def parts_away(gateway: Gateway) -> list[str]:
    """The names of the parts that do not answer just now: `queue`, `store`, `model`."""
    queue, store = await asyncio.gather(gateway.queue.ping(), gateway.store.ping(), return_exceptions=True)
    is_away = {"queue": queue is not None, "store": store is not None, "model": not gateway.watch.is_there}
    return [name for name, away in is_away.items() if away]


def _pair_id(text: str) -> PairId:
    try:
        return PairId(str(UUID(text)))
    except ValueError as error:
        raise UnknownPair("There is no pair with this id.") from error
