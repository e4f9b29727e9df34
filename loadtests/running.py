"""A run: locust's runners put to work on a profile, from the first user to the last news of all of them."""

import signal
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import gevent
from locust.env import Environment
from locust.event import EventHook, Events
from locust.rpc import Message
from locust.runners import MasterRunner, Runner
from locust.stats import stats_history

from loadtests.courses import Bursts, Climb, Constant, course_of
from loadtests.figures import Span
from loadtests.gateway import Gateway
from loadtests.ledger import Ledger, News
from loadtests.load import ClosedLoad, OpenLoad
from loadtests.profiles import Profile
from loadtests.sampling import Sampler
from loadtests.session import NEWS, RATE, Session, api_key
from loadtests.shape import ProfileShape
from loadtests.users import BESIDE, Arrivals, Poster, Visitor
from pairs.errors import JudgefreeError

_FOLLOW_EVERY_S = 5.0
_LAST_NEWS_S = 15.0
_OBSERVERS = 8


class WorkersMissing(JudgefreeError):
    """Fewer workers than were asked for have come."""

    type, status, title = "workers-missing", 503, "The load test has too few workers"


@dataclass(frozen=True)
class Cluster:
    """Where the head listens for workers, and how many it waits for, at most `patience_s`."""

    bind_host: str
    bind_port: int
    workers: int
    patience_s: float


@dataclass(frozen=True)
class Run:
    """What the head of a run knows. `untold`: processes of users whose last news has not come; `exceptions`: errors of
    the load test's own code."""

    environment: Environment
    course: Constant | Bursts | Climb
    ledger: Ledger
    sampler: Sampler
    span: Span
    untold: int
    exceptions: int
    was_broken_off: bool


Follow = Callable[[Ledger, Sampler, float], None]
"""Told now and then: the books, the queue, and the level."""


def observer(host: str) -> Gateway:
    """A gateway for the head's own looks, which are in no statistics."""
    return Gateway(host, api_key(), EventHook(), lambda outcome: None, _OBSERVERS)


def conduct(host: str, profile: Profile, images: Path | None, cluster: Cluster | None, follow: Follow) -> Run:
    """Put the profile's load on `host`, from this process or from the workers that come, until its course is over and
    what was begun is done. Raises WorkersMissing."""
    environment, ledger, course = _environment(host, profile), Ledger(), course_of(profile)
    runner = _runner(environment, cluster)
    runner.register_message(NEWS, lambda environment, msg: ledger.take(_news(msg)))
    if isinstance(runner, MasterRunner) and cluster is not None:
        _await_workers(runner, cluster)
    else:
        join(Session(environment, profile, images))
    sampler = Sampler(observer(host), ledger)
    load = ClosedLoad() if profile.load == "closed" else OpenLoad(runner)
    shape = ProfileShape(course, ledger, runner, load, _count_beside(profile))
    environment.shape_class = shape
    watchers = [
        gevent.spawn(sampler.run),
        gevent.spawn(stats_history, runner),
        gevent.spawn(_keep_following, follow, ledger, sampler, shape),
        *(gevent.signal_handler(number, _break_off, shape) for number in (signal.SIGINT, signal.SIGTERM)),
    ]
    runner.start_shape()
    gevent.joinall([runner.shape_greenlet])
    untold = _await_last_news(ledger, 1 if cluster is None else cluster.workers)
    for watcher in watchers:
        watcher.kill() if isinstance(watcher, gevent.Greenlet) else watcher.cancel()
    runner.quit()  # the workers' last statistics come with it
    exceptions = sum(one["count"] for one in runner.exceptions.values())
    span = Span(min(shape.began_at + _warm_up_s(profile), shape.ended_at), shape.ended_at)  # broken off: maybe nothing
    return Run(environment, course, ledger, sampler, span, untold, exceptions, shape.is_broken_off)


def join(session: Session) -> None:
    """Let the users of this process work for `session`, which hears of its rate and tells their news until the run is
    over."""
    Visitor.session = session
    runner = session.environment.runner
    if runner is None:
        raise RuntimeError("the run has no runner")
    runner.register_message(RATE, lambda environment, msg: session.timetable.add(msg.data))
    telling = gevent.spawn(session.keep_telling)

    def end(environment: Environment, **_: object) -> None:
        telling.kill()
        session.end()

    session.environment.events.test_stop.add_listener(end)


def _environment(host: str, profile: Profile) -> Environment:
    poster = Poster if profile.load == "closed" else Arrivals
    beside = [kind for kind in BESIDE if kind.fixed_count_in(profile) > 0]
    for kind in beside:
        kind.fixed_count = kind.fixed_count_in(profile)
    environment = Environment(
        user_classes=[poster, *beside], host=host, events=Events(), stop_timeout=profile.drain_s, locustfile="loadtests"
    )
    # What locust reads of its own command line, and what its workers are sent.
    environment.parsed_options = Namespace(
        headless=False, enable_rebalancing=False, judgefree_profile=profile.model_dump_json()
    )
    return environment


def _runner(environment: Environment, cluster: Cluster | None) -> Runner:
    if cluster is None:
        return environment.create_local_runner()
    return environment.create_master_runner(cluster.bind_host, cluster.bind_port)


def _await_workers(runner: MasterRunner, cluster: Cluster) -> None:
    deadline = monotonic() + cluster.patience_s
    while len(runner.clients.ready) < cluster.workers:
        if monotonic() > deadline:
            came = len(runner.clients.ready)
            raise WorkersMissing(f"{came} of {cluster.workers} workers came within {cluster.patience_s:g} s.")
        gevent.sleep(0.2)


def _await_last_news(ledger: Ledger, processes: int) -> int:
    """How many of the processes of users have not told everything, after some time for it."""
    deadline = monotonic() + _LAST_NEWS_S
    while (untold := processes - ledger.ended) > 0 and monotonic() < deadline:
        gevent.sleep(0.1)
    return untold


def _keep_following(follow: Follow, ledger: Ledger, sampler: Sampler, shape: ProfileShape) -> None:
    while True:
        gevent.sleep(_FOLLOW_EVERY_S)
        follow(ledger, sampler, shape.current)


def _break_off(shape: ProfileShape) -> None:
    """The first signal ends the load, and what was accepted is still checked; a second one ends the process."""
    shape.is_broken_off = True
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _count_beside(profile: Profile) -> int:
    return sum(kind.fixed_count_in(profile) for kind in BESIDE)


def _warm_up_s(profile: Profile) -> float:
    found: float = getattr(profile.shape, "warm_up_s", 0.0)
    return found


def _news(message: Message) -> News:
    news: News = message.data
    return news
