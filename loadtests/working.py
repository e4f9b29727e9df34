"""A worker of a distributed run: users as the head asks for them, until it says that all is over."""

import signal
from pathlib import Path

import gevent
from locust.env import Environment
from locust.event import Events
from locust.runners import WorkerRunner

from loadtests.profiles import Profile
from loadtests.running import join
from loadtests.session import Session
from loadtests.users import BESIDE, Arrivals, Poster


def serve(master_host: str, master_port: int, images: Path | None) -> None:
    """Work until the head of the run ends, or until told to end: then the users end first, and their news are told.

    The profile comes from the head; the images, if they are a folder's, and the API key are this machine's.
    """
    environment = Environment(user_classes=[Poster, Arrivals, *BESIDE], events=Events())

    def begin(environment: Environment, **_: object) -> None:
        profile = Profile.model_validate_json(vars(environment.parsed_options)["judgefree_profile"])
        join(Session(environment, profile, images))

    def be_ready(environment: Environment, **_: object) -> None:
        environment.stop_timeout = 0.0  # the users have ended, and locust would sleep for so long before it goes on

    environment.events.test_start.add_listener(begin)
    environment.events.test_stop.add_listener(be_ready)
    runner = environment.create_worker_runner(master_host, master_port)
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, _leave, environment, runner)
    runner.greenlet.join()


def _leave(environment: Environment, runner: WorkerRunner) -> None:
    runner.stop()
    environment.events.quitting.fire(environment=environment, reverse=True)
    runner.greenlet.kill(block=False)
