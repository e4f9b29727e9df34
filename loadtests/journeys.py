"""The way of an image from its arrival to its finished pair, as a client goes it that does not give up easily."""

import random
from collections.abc import Sequence
from time import monotonic
from typing import Any
from uuid import uuid4

import gevent

from loadtests.gateway import Answer, Gateway
from loadtests.pictures import Picture
from loadtests.session import Session

WAIT_S = 20
"""What a waiting request asks the gateway for; it grants 60 at most."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_SETTLED = ("done", "failed")


def travel(
    session: Session, gateway: Gateway, pictures: Sequence[Picture], arrived_at: float, name: str = "POST"
) -> None:
    """Post pictures and wait until each pair is settled, or the journey's time is over."""
    journey = session.profile.journey
    deadline = monotonic() + journey.give_up_s
    key = str(uuid4())
    wait_s = WAIT_S if journey.wait == "post" else 0
    pairs = _post(session, gateway, pictures, key, wait_s, deadline, name)
    if random.random() < journey.repeat_share and pairs:
        _post(session, gateway, pictures, key, 0, deadline, "repeated")
    for pair in pairs:
        follow(session, gateway, pair, arrived_at, deadline)


def _post(
    session: Session, gateway: Gateway, pictures: Sequence[Picture], key: str, wait_s: int, deadline: float, name: str
) -> list[dict[str, Any]]:
    """The accepted pairs; none where the gateway refused or time ran out. Repeated under its key while the gateway is
    busy or does not answer, as docs/api.md asks of a client."""
    images, pause_s = [picture.file for picture in pictures], _FIRST_PAUSE_S
    while True:
        answer = gateway.post(images, session.profile.journey.fields, key, wait_s, name)
        if answer.outcome == "ok":
            pairs: list[dict[str, Any]] = answer.body["pairs"]
            session.accepted(pairs, key, pictures)
            return pairs
        pause_s = _pause(answer, pause_s, deadline)
        if pause_s == 0:
            return []


def follow(session: Session, gateway: Gateway, pair: dict[str, Any], arrived_at: float, deadline: float) -> None:
    """Wait for an accepted pair as the profile says, until it is settled or `deadline` (monotonic) has come."""
    journey = session.profile.journey
    pause_s = _FIRST_PAUSE_S
    while pair["status"] not in _SETTLED and monotonic() < deadline:
        if journey.wait == "poll":
            gevent.sleep(journey.poll_s)
        wait_s = 0 if journey.wait == "poll" else min(WAIT_S, max(1, int(deadline - monotonic())))
        answer = gateway.pair(pair["id"], wait_s)
        if answer.outcome == "ok":
            pair, pause_s = answer.body, _FIRST_PAUSE_S
        else:
            pause_s = _pause(answer, pause_s, deadline)
            if pause_s == 0:
                return
    if pair["status"] in _SETTLED:
        session.settled(pair, arrived_at)


def _pause(answer: Answer, pause_s: float, deadline: float) -> float:
    """Wait before a repetition; the next pause in seconds, or 0 where repeating is no use or there is no time left."""
    if answer.outcome == "error" and answer.status != 0 and answer.status < 500:
        return 0.0
    asked_s = answer.retry_after_s if answer.retry_after_s is not None else pause_s
    if monotonic() + asked_s > deadline:
        return 0.0
    gevent.sleep(asked_s)
    return min(2 * pause_s, _LONGEST_PAUSE_S)
