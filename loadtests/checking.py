"""After a run: every accepted pair is fetched, its image too, and all that was finished meanwhile is listed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from time import monotonic

import gevent
from gevent.pool import Pool
from PIL import Image

from loadtests.gateway import Answer, Gateway
from loadtests.ledger import Found, Ledger
from loadtests.pixels import Pixels, pixels_of, to_compare
from pairs.errors import JudgefreeError

AT_A_TIME = 8
_PAGE = 200
_PATIENCE_S = 60.0
_SETTLED = ("done", "failed")
_NO_IMAGE = Pixels(width=0, height=0, sha256="")
"""No image, or none that can be read, is none of those that were sent."""


class CannotCheck(JudgefreeError):
    """The gateway does not answer, so nobody knows whether all is there."""

    type, status, title = "cannot-check", 503, "The accepted pairs cannot be checked"


def fetch_all(gateway: Gateway, ledger: Ledger, drain_s: float) -> dict[str, Found]:
    """What the gateway says of each accepted pair; those that are not settled are asked for again for `drain_s`."""
    deadline = monotonic() + drain_s
    found: dict[str, Found] = {}
    missing = list(ledger.accepted)
    while missing:
        pool = Pool(AT_A_TIME)
        found |= dict(pool.imap_unordered(lambda pair_id: (pair_id, _found(gateway, pair_id)), missing))
        missing = [one for one in missing if found[one].status is not None and found[one].status not in _SETTLED]
        if monotonic() > deadline:
            break
        gevent.sleep(0.5 if missing else 0)
    return found


def with_pixels(gateway: Gateway, ledger: Ledger, found: Mapping[str, Found]) -> dict[str, Found]:
    """What was found, with the pixels of the images that are worth a look."""
    wanted = to_compare({one: ledger.accepted[one]["pixels"] for one in found if found[one].status is not None})
    seen = dict(Pool(AT_A_TIME).imap_unordered(lambda pair_id: (pair_id, _stored_pixels(gateway, pair_id)), wanted))
    return {pair_id: replace(one, pixels=seen.get(pair_id)) for pair_id, one in found.items()}


def list_all(gateway: Gateway, ledger: Ledger) -> Iterator[tuple[str, str]]:
    """(id, sha256 of the image) of every finished pair since the first accepted one, by the gateway's own clock."""
    if not ledger.accepted:
        return
    since = min(one["created_at"] for one in ledger.accepted.values())
    cursor: str | None = None
    while True:
        answer = _insist(partial(gateway.page, since, cursor, _PAGE))
        yield from ((pair["id"], pair["image"]["sha256"]) for pair in answer.body["pairs"])
        cursor = answer.body["next"]
        if cursor is None:
            return


def _found(gateway: Gateway, pair_id: str) -> Found:
    answer = _insist(partial(gateway.pair, pair_id))
    if answer.status == 404:
        return Found(None)
    return Found(answer.body["status"], answer.body["image"]["sha256"], answer.body["reason"])


def _stored_pixels(gateway: Gateway, pair_id: str) -> Pixels:
    answer = _insist(partial(gateway.image, pair_id))
    if answer.status == 404:
        return _NO_IMAGE
    try:
        with Image.open(BytesIO(answer.body)) as image:
            return pixels_of(image.convert("RGB"))
    except OSError:
        return _NO_IMAGE


def _insist(ask: Callable[[], Answer]) -> Answer:
    """The gateway's answer, 404 included; raises CannotCheck where there is none for a minute."""
    deadline = monotonic() + _PATIENCE_S
    while True:
        answer = ask()
        if answer.outcome == "ok" or answer.status == 404:
            return answer
        if monotonic() > deadline or (400 <= answer.status < 500 and answer.outcome == "error"):
            raise CannotCheck(f"The gateway answers HTTP {answer.status} where a pair is asked for.")
        gevent.sleep(1)
