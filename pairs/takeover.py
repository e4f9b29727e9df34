"""What a consumer takes over from consumers that fell silent, decided on what the stream says of its entries."""

from collections.abc import Sequence
from dataclasses import dataclass

_SUSPECT_AT = 2


@dataclass(frozen=True)
class Pending:
    """An entry that some consumer holds: how often it was delivered, and for how long that consumer is silent."""

    entry: str
    deliveries: int
    idle_ms: int


@dataclass(frozen=True)
class TakeOver:
    """Entries for the dead letters, entries to take, and whether nothing else may be taken just now."""

    dead: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    must_wait: bool = False


def plan(silent: Sequence[Pending], held: Sequence[Pending], lease_ms: int, max_attempts: int) -> TakeOver:
    """What to do about `silent` entries for a consumer that holds `held`.

    An entry whose workers died again and again is a suspect. It is worked on alone, so that its neighbours in a batch
    do not share its deaths: its consumer first ends what it holds, then takes it, then takes nothing until it is
    settled. Of `held`, what is silent too is left out: nobody is at work on it.
    """
    suspect_at = max(1, min(_SUSPECT_AT, max_attempts - 1))
    dead = tuple(one.entry for one in silent if one.deliveries >= max_attempts)
    alive = [one for one in silent if one.deliveries < max_attempts]
    in_work = [one for one in held if one.idle_ms < lease_ms]
    if any(one.deliveries > suspect_at for one in in_work):
        return TakeOver(dead, must_wait=True)
    if innocent := tuple(one.entry for one in alive if one.deliveries < suspect_at):
        return TakeOver(dead, innocent)
    if alive and in_work:
        return TakeOver(dead, must_wait=True)
    return TakeOver(dead, tuple(one.entry for one in alive[:1]))
