"""What lockstep is not proven with, and what to do instead: found in vLLM's flags, or by the engine. Pure."""

from collections.abc import Sequence
from enum import Enum


class Obstacle(Enum):
    """A set-up that is refused at start-up: (its name, what to do)."""

    SPECULATION = ("speculative decoding", "leave out --speculative-config and --spec-*")
    PIPELINE = ("pipeline parallelism", "leave out --pipeline-parallel-size")
    DATA = ("data parallelism", "start one server for each replica, and send both members of a pair to the same one")
    CONNECTOR = ("a KV or encoder connector", "leave out --kv-transfer-config, --kv-offloading-* and --ec-*")
    PRIORITY = ("priority scheduling", "leave out --scheduling-policy")
    SHARDING = ("batch-sharded sampling", "leave out --enable-batch-sharded-sampling")
    SEATS = ("--max-num-seqs below 2", "give it at least 2")

    @property
    def sentence(self) -> str:
        name, advice = self.value
        return f"Paired decoding does not work with {name}: {advice}."


_REFUSED_FLAGS = {
    "--speculative-config": Obstacle.SPECULATION,
    "-sc": Obstacle.SPECULATION,
    "--spec-method": Obstacle.SPECULATION,
    "--spec-model": Obstacle.SPECULATION,
    "--spec-tokens": Obstacle.SPECULATION,
    "--pipeline-parallel-size": Obstacle.PIPELINE,
    "-pp": Obstacle.PIPELINE,
    "--data-parallel-size": Obstacle.DATA,
    "-dp": Obstacle.DATA,
    "--kv-transfer-config": Obstacle.CONNECTOR,
    "--kv-offloading-size": Obstacle.CONNECTOR,
    "--ec-transfer-config": Obstacle.CONNECTOR,
    "--scheduling-policy": Obstacle.PRIORITY,
    "--enable-batch-sharded-sampling": Obstacle.SHARDING,
}
_HARMLESS_VALUES = {Obstacle.PIPELINE: "1", Obstacle.DATA: "1", Obstacle.PRIORITY: "fcfs"}


def obstacle_in(arguments: Sequence[str]) -> Obstacle | None:
    """The first obstacle that vLLM's arguments show, in any of the ways in which vLLM reads a flag.

    `--flag value`, `--flag=value`, `--flag.key value`, with dashes or underscores. What they do not show (a file of
    arguments, an abbreviated flag, a model that brings its own draft model) the scheduler finds when the engine starts:
    of the engines of data parallelism that of any but the first, and vLLM ends when one of them does.
    """
    for position, argument in enumerate(arguments):
        flag, _, given = argument.partition("=")
        obstacle = _REFUSED_FLAGS.get(flag.partition(".")[0].replace("_", "-"))
        value = given or next(iter(arguments[position + 1 :]), "")
        if obstacle and value != _HARMLESS_VALUES.get(obstacle):
            return obstacle
    return None
