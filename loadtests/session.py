"""What the users of one process share: the profile, the supply of images, and the news for the head of the run."""

import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
from gevent.pool import Pool
from locust.env import Environment
from locust.exception import RPCError

from loadtests.arrivals import Timetable
from loadtests.gateway import Gateway
from loadtests.ledger import Acceptance, Arrival, News, Outcome, Settlement
from loadtests.pictures import Folder, Picture, Pictures, Scenes
from loadtests.profiles import Profile
from pairs.clock import now
from pairs.settings import load_settings

NEWS = "judgefree-news"
"""The message (locust's, from a process of users to the head of the run) that carries a `News`."""
RATE = "judgefree-rate"
"""The message the other way, which carries a `Segment` of an open load."""
_TELL_EVERY_S = 0.5
_REMEMBERED = 500


def api_key() -> str | None:
    """The key to send, from the settings (`JUDGEFREE_API_KEYS`)."""
    keys = load_settings().api_keys
    return keys[0] if keys else None


class Session:
    """One process's part of a run. `timetable` has the arrivals of an open load; `journeys` are those under way, which
    no user waits for."""

    def __init__(self, environment: Environment, profile: Profile, images: Path | None) -> None:
        self.environment, self.profile = environment, profile
        self._api_key = api_key()
        seed = secrets.randbits(63)
        self.pictures: Pictures = Scenes(seed) if images is None else Folder(images, seed)
        self.timetable = Timetable(profile.arrivals == "even")
        self.journeys = Pool()
        self.done: deque[str] = deque(maxlen=_REMEMBERED)
        """Pairs of this run that are done: a reviewer touches no others."""
        self.began_at = now()
        self._sender = uuid4().hex
        self._number = 0
        self._outbox: deque[News] = deque()
        self._clear()

    def _clear(self) -> None:
        self._arrivals: list[Arrival] = []
        self._acceptances: list[Acceptance] = []
        self._settlements: list[Settlement] = []
        self._outcomes: Counter[Outcome] = Counter()

    def gateway(self, connections: int = 4) -> Gateway:
        host = self.environment.host
        if host is None:
            raise RuntimeError("the run has no host")
        return Gateway(host, self._api_key, self.environment.events.request, self.count, connections)

    def depart(self, travel: Callable[..., None], *given: object) -> None:
        """Send a journey on its way, which nobody waits for until the end."""
        self.journeys.spawn(travel, *given).link_exception(lambda lost: self._report(lost.exception))

    def _report(self, error: BaseException) -> None:
        self.environment.events.user_error.fire(user_instance=None, exception=error, tb=error.__traceback__)

    def count(self, outcome: Outcome) -> None:
        self._outcomes[outcome] += 1

    def arrived(self, at: float, late_s: float, images: int = 1) -> None:
        self._arrivals += [Arrival(at=at, late_s=late_s)] * images

    def accepted(self, pairs: Sequence[dict[str, Any]], key: str, pictures: Sequence[Picture]) -> None:
        """The pairs of a request's pictures, in their order."""
        at = now().timestamp()
        for place, (pair, picture) in enumerate(zip(pairs, pictures, strict=True)):
            self._acceptances.append(
                Acceptance(
                    id=pair["id"],
                    sha256=pair["image"]["sha256"],
                    pixels=picture.pixels,
                    key=key,
                    place=place,
                    at=at,
                    created_at=pair["created_at"],
                )
            )

    def settled(self, pair: dict[str, Any], arrived_at: float) -> None:
        """A pair is done or has failed: told to the head, and to locust's statistics as a request of its own."""
        at = now().timestamp()
        took_s = at - arrived_at
        settlement = Settlement(id=pair["id"], status=pair["status"], at=at, arrived_at=arrived_at, latency_s=took_s)
        self._settlements.append(settlement)
        is_done = pair["status"] == "done"
        if is_done:
            self.done.append(pair["id"])
        self.environment.events.request.fire(
            request_type="PAIR",
            name="image to finished pair",
            response_time=1000 * took_s,
            response_length=0,
            exception=None if is_done else RuntimeError("the pair failed"),
            context={},
        )

    def tell(self, is_last: bool = False) -> None:
        """Send what has happened since it was last told. Raises RPCError; what could not be sent goes the next time."""
        runner = self.environment.runner
        if runner is None:
            raise RuntimeError("the run has no runner")
        self._number += 1
        self._outbox.append(
            News(
                sender=self._sender,
                number=self._number,
                is_last=is_last,
                arrivals=self._arrivals,
                acceptances=self._acceptances,
                settlements=self._settlements,
                outcomes=dict(self._outcomes),
            )
        )
        self._clear()  # before the sending, in which others may take their turn and have news
        while self._outbox:
            runner.send_message(NEWS, dict(self._outbox[0]))
            self._outbox.popleft()

    def keep_telling(self) -> None:
        """Tell the news twice a second, for ever."""
        while True:
            gevent.sleep(_TELL_EVERY_S)
            try:
                self.tell()
            except RPCError:
                continue  # it stays in the outbox; should it never go, the head misses the last news and says so

    def end(self) -> None:
        """Wait for the arrivals that are under way, at most `drain_s`, and tell the last news."""
        self.journeys.join(timeout=self.profile.drain_s)
        self.journeys.kill()
        self.tell(is_last=True)
