"""What `/v1/stats` tells: counts, rates, the latest dead letters, and what is in force."""

from importlib.metadata import version
from typing import Final

from pairs.settings import public_name
from service.gateway import Gateway
from service.shapes import FailedPair, ModelStats, QueueStats, Stats, VerifierStats

_LETTERS_SHOWN: Final = 20


async def present_stats(gateway: Gateway) -> Stats:
    """The gateway's stats, now."""
    depth, decisions = await gateway.tally.look()
    settings = gateway.settings
    return Stats(
        decisions=decisions,
        finished=sum(decisions.values()),
        pairs_per_second=round(gateway.tally.pairs_per_second(), 3),
        queue=QueueStats(
            jobs=depth.jobs, candidates=depth.candidates, dead=depth.dead, max_in_flight=settings.max_in_flight
        ),
        dead_letters=await _latest_letters(gateway) if depth.dead else [],
        model=_model_stats(gateway),
        verifier=VerifierStats(
            model=public_name(settings.clip), scorer=settings.scorer, margin_threshold=settings.margin_threshold
        ),
        version=version("judgefree"),
    )


async def _latest_letters(gateway: Gateway) -> list[FailedPair]:
    return [
        FailedPair(id=letter.pair_id, stage=letter.stage, reason=letter.reason, attempts=letter.attempts)
        for letter in await gateway.queue.latest_dead_letters(_LETTERS_SHOWN)
    ]


def _model_stats(gateway: Gateway) -> ModelStats:
    if not gateway.watch.is_there:
        return ModelStats(is_there=False)
    served = gateway.watch.served()
    policy = served.policy.model_copy(update={"adapter": gateway.shelf.default})
    return ModelStats(is_there=True, policy=policy, max_model_len=served.max_model_len, vllm=served.version)
