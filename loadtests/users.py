"""The users: posters, open arrivals, a bulk uploader, one who browses, an exporter, a reviewer, a bad client."""

import json
import random
from time import monotonic, perf_counter
from typing import Any, ClassVar
from uuid import uuid4

import gevent
from locust import User, task
from locust.env import Environment
from urllib3 import encode_multipart_formdata

from loadtests.bad import HUGE_BYTES, Misdeed, head, misdeeds, send_by_hand
from loadtests.gateway import Gateway
from loadtests.journeys import follow, travel
from loadtests.pictures import Picture
from loadtests.profiles import Crowd, Profile
from loadtests.session import Session
from pairs.clock import now

_LOOK_EVERY_S = 0.05
"""How often arrivals look whether their rate has changed."""
_OPEN_CONNECTIONS = 2**16
"""More than there are ports: an image never waits for a connection of the load generator's."""
_PAGES = 3
_VERDICTS = ("keep", "swap", "discard")
_SLOW_PIECES = 8
_SLOW_PAUSE_S = 0.5


class Visitor(User):
    """What all users have: the session, a gateway of their own, a pause between two acts."""

    abstract = True
    session: ClassVar[Session]
    connections: ClassVar[int] = 4

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.gateway: Gateway = self.session.gateway(self.connections)

    @classmethod
    def crowd_in(cls, profile: Profile) -> Crowd | None:
        """This kind of user in a profile."""
        crowd: Crowd | None = getattr(profile.users, cls.__name__.lower())
        return crowd

    @classmethod
    def fixed_count_in(cls, profile: Profile) -> int:
        crowd = cls.crowd_in(profile)
        return 0 if crowd is None else crowd.count

    @property
    def crowd(self) -> Crowd:
        crowd = self.crowd_in(self.session.profile)
        if crowd is None:
            raise RuntimeError(f"the profile has no {type(self).__name__}")
        return crowd

    def wait_time(self) -> float:
        return random.expovariate(1 / self.crowd.pause_s)


class Poster(Visitor):
    """Posts an image, waits for its pair, and posts the next: closed load."""

    def wait_time(self) -> float:
        return self.session.profile.journey.pause_s

    @task
    def post(self) -> None:
        picture = self.session.pictures.next()
        at = now().timestamp()
        self.session.arrived(at, 0.0)
        travel(self.session, self.gateway, [picture], at)


class Arrivals(Visitor):
    """Images that arrive at their own times, however long the earlier ones take: open load.

    One such user sends all of its process's timetable. An image's time runs from the moment at which it was due, also
    where the load generator was late.
    """

    connections = _OPEN_CONNECTIONS

    def on_start(self) -> None:
        self.session.timetable.skip_to(now().timestamp())

    def wait_time(self) -> float:
        return min(max(0.0, self.session.timetable.due - now().timestamp()), _LOOK_EVERY_S)

    @task
    def arrive(self) -> None:
        due, at = self.session.timetable.due, now().timestamp()
        if at < due:
            return
        self.session.timetable.take()
        self.session.arrived(due, at - due)
        self.session.depart(travel, self.session, self.gateway, [self.session.pictures.next()], due)


class Bulk(Visitor):
    """Posts many images in one request and waits for them all."""

    @task
    def post(self) -> None:
        pictures = [self.session.pictures.next() for _ in range(self.crowd.images)]
        at = now().timestamp()
        self.session.arrived(at, 0.0, len(pictures))
        travel(self.session, self.gateway, pictures, at, name="POST many")


class Browser(Visitor):
    """Opens the page, leafs through the list of finished pairs, looks at an image."""

    @task
    def browse(self) -> None:
        self.gateway.ask("GET", "/", name="/")
        cursor: str | None = None
        for _ in range(_PAGES):
            listed = self.gateway.page(cursor=cursor)
            if listed.outcome != "ok" or not listed.body["pairs"]:
                return
            self._look_at(random.choice(listed.body["pairs"]))
            cursor = listed.body["next"]
            if cursor is None:
                return
            gevent.sleep(self.wait_time())

    def _look_at(self, pair: dict[str, Any]) -> None:
        self.gateway.image(pair["id"])


class Exporter(Visitor):
    """Downloads what this run has made so far, as parquet and as JSON lines in turn."""

    _is_parquet = False

    @task
    def export(self) -> None:
        self._is_parquet = not self._is_parquet
        kind = "parquet" if self._is_parquet else "jsonl"
        query = {"format": kind, "since": self.session.began_at.isoformat()}
        whole = _is_whole_parquet if self._is_parquet else _is_whole_jsonl
        self.gateway.download("/v1/export", query, f"/v1/export {kind}", whole)


def _is_whole_parquet(first: bytes, last: bytes) -> bool:
    return first.startswith(b"PAR1") and last.endswith(b"PAR1")


def _is_whole_jsonl(first: bytes, last: bytes) -> bool:
    return first == last == b"" or (first.startswith(b"{") and last.endswith(b"}\n"))


class Reviewer(Visitor):
    """Looks at a finished pair of this run, never at another's, and says what holds."""

    @task
    def review(self) -> None:
        if not self.session.done:
            return
        pair_id = random.choice(self.session.done)
        if self.gateway.pair(pair_id).outcome == "ok":
            self.gateway.review(pair_id, random.choice(_VERDICTS))


class Bad(Visitor):
    """Sends what is malformed, oversized, slow or cut off; right is what the API says of it, and that others go on."""

    _turn = 0

    @task(6)
    def misbehave(self) -> None:
        """One misdeed after the other, so that a short run has them all."""
        wrong = misdeeds(self.session.pictures.next().file)
        self._refused(wrong[self._turn % len(wrong)])
        self._turn += 1

    @task(1)
    def announce_too_much(self) -> None:
        """A body of a tebibyte, by its header: to be refused before it is sent."""
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(HUGE_BYTES)}
        began = perf_counter()
        status, _ = send_by_hand(self.gateway.host, [head(self.gateway.host, self.gateway.headers | headers)], 0)
        self._report("bad: a body of a tebibyte", began, status, (413, 0))

    @task(1)
    def hang_up(self) -> None:
        """Half a request, and away."""
        began = perf_counter()
        pieces = self._pieces(str(uuid4()), self.session.pictures.next())
        send_by_hand(self.gateway.host, pieces[: _SLOW_PIECES // 2], 0, is_answer_wanted=False)
        self._report("bad: hangs up in the middle", began, 0, (0,))

    @task(1)
    def dawdle(self) -> None:
        """A good request, a piece every half second: it is accepted, and holds nobody up."""
        key, picture = str(uuid4()), self.session.pictures.next()
        began, at = perf_counter(), now().timestamp()
        self.session.arrived(at, 0.0)
        status, body = send_by_hand(self.gateway.host, self._pieces(key, picture), _SLOW_PAUSE_S)
        self._report("bad: slow, but right", began, status, (202, 429, 503))
        if status == 202:
            pairs = json.loads(body)["pairs"]
            self.session.accepted(pairs, key, [picture])
            follow(self.session, self.gateway, pairs[0], at, monotonic() + self.session.profile.journey.give_up_s)

    def _refused(self, wrong: Misdeed) -> None:
        headers = {"Content-Type": wrong.content_type}
        name = f"bad: {wrong.name}"
        self.gateway.ask("POST", "/v1/pairs", name, wrong.expected, data=wrong.body, headers=headers)

    def _pieces(self, key: str, picture: Picture) -> list[bytes]:
        body, content_type = encode_multipart_formdata([("image", ("image.png", picture.file))])
        headers = {"Content-Type": content_type, "Content-Length": str(len(body)), "Idempotency-Key": key}
        whole = head(self.gateway.host, self.gateway.headers | headers) + body
        size = len(whole) // _SLOW_PIECES + 1
        return [whole[start : start + size] for start in range(0, len(whole), size)]

    def _report(self, name: str, began: float, status: int, expected: tuple[int, ...]) -> None:
        is_right = status in expected
        self.session.count("ok" if is_right else "error")
        self.environment.events.request.fire(
            request_type="POST",
            name=name,
            response_time=1000 * (perf_counter() - began),
            response_length=0,
            exception=None if is_right else RuntimeError(f"HTTP {status}" if status >= 0 else "no answer in time"),
            context={},
        )


BESIDE: tuple[type[Visitor], ...] = (Bulk, Browser, Exporter, Reviewer, Bad)
"""Who may be there beside the posters or arrivals."""
