"""The register of twin pairs in one engine: who has arrived, who left, and whom that leaves alone.

Holds vLLM's own request objects and reads of them only what it names; decides, and leaves the doing to the scheduler.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm.v1.request import RequestStatus

from workers.mllm.twins import Role, disagreements, twin_of

if TYPE_CHECKING:
    from vllm.v1.request import Request


_RUNNING = RequestStatus.RUNNING
BOTH = len(Role)
"""Asking an enumeration each time is a tenth of the look at a pair."""


@dataclass(slots=True)
class Pair:
    """The members of one twin id that have arrived. `moved_at`: when one arrived or last ran a token, in seconds."""

    id: str
    moved_at: float
    members: "dict[Role, Request]" = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return len(self.members) == BOTH

    @property
    def running(self) -> "list[Request]":
        """The members that are admitted, and so hold KV blocks."""
        return [request for request in self.members.values() if request.status is _RUNNING]

    @property
    def is_half_admitted(self) -> bool:
        return self.is_whole and len(self.running) == 1

    @property
    def is_unlike(self) -> bool:
        """Whether both members ended by themselves, with different tokens."""
        ends = [list(member.output_token_ids) for member in self.members.values()]
        was_aborted = any(member.status == RequestStatus.FINISHED_ABORTED for member in self.members.values())
        return self.is_whole and not was_aborted and ends[0] != ends[1]

    def twin_of(self, request: "Request") -> "Request | None":
        return next((other for other in self.members.values() if other is not request), None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Requests that must end, and the sentence that their clients get."""

    requests: "list[Request]"
    reason: str


class Register:
    """All pairs with at least one unfinished member.

    timeouts: pairs that `overdue` has named; divergences: pairs whose members did not end together and alike.
    """

    def __init__(self) -> None:
        self.pairs: dict[str, Pair] = {}
        self._pair_by_request: dict[str, Pair] = {}
        self.timeouts = 0
        self.divergences = 0
        self._suspects: list[Pair] = []
        self._left: list[tuple[Pair, Request]] = []

    def pair_of(self, request: "Request") -> Pair | None:
        return self._pair_by_request.get(request.request_id)

    def pairs_of(self, request_ids: Iterable[str]) -> list[Pair]:
        """The pairs that any of these requests belongs to, once for each request."""
        pairs = self._pair_by_request
        return [pairs[request_id] for request_id in request_ids if request_id in pairs]

    def enter(self, request: "Request", now: float) -> tuple[Pair | None, Refusal | None]:
        """Register a request that has arrived: its pair (None for an ordinary request), or why it cannot stay."""
        twin = twin_of(request.sampling_params.extra_args) if request.sampling_params else None
        if twin is None:
            return None, None
        pair = self.pairs.get(twin.id) or Pair(twin.id, now)
        if twin.role in pair.members:
            return None, Refusal([request], f"Twin {twin.id!r} already has a {twin.role} member.")
        self.pairs[twin.id] = pair
        self._pair_by_request[request.request_id] = pair
        pair.members[twin.role] = request
        pair.moved_at = now
        if reason := _flaw(pair):
            return None, Refusal(list(pair.members.values()), reason)
        return pair, None

    def leave(self, request: "Request") -> None:
        """Note that a request has finished, for whatever reason; ordinary requests are ignored."""
        if pair := self._pair_by_request.pop(request.request_id, None):
            self._left.append((pair, request))

    def forget(self, requests: "list[Request]") -> None:
        """Drop requests that were ended for cause, so that no widow is seen in them."""
        ended = {request.request_id for request in requests}
        self._left = [(pair, request) for pair, request in self._left if request.request_id not in ended]
        for pair in [pair for pair in self.pairs.values() if all(m.is_finished() for m in pair.members.values())]:
            del self.pairs[pair.id]

    def take_widows(self) -> list[Refusal]:
        """Members whose twin has finished while they have not, and finished pairs that are not alike, without members.

        Finished pairs are dropped from the register.
        """
        if not self._left:
            return []
        left, self._left = self._left, []
        widows = []
        for pair, gone in left:
            alive = [member for member in pair.members.values() if not member.is_finished()]
            if not alive:
                if self.pairs.pop(pair.id, None) and pair.is_unlike:
                    self.divergences += 1
                    widows.append(Refusal([], f"Twin {pair.id!r} has diverged: its members sampled different tokens."))
            elif gone.status == RequestStatus.FINISHED_ABORTED:
                widows.append(Refusal(alive, f"Twin {pair.id!r} has lost its other member: it was cancelled."))
            else:
                self.divergences += 1
                widows.append(Refusal(alive, f"Twin {pair.id!r} has diverged: its other member finished before it."))
        return widows

    def overdue(self, now: float, wait_s: float) -> list[Refusal]:
        """Pairs that wait for a twin, or hold KV blocks without moving, for longer than `wait_s`."""
        refusals = []
        for pair in self.pairs.values():
            if now - pair.moved_at <= wait_s:
                continue
            members = list(pair.members.values())
            if not pair.is_whole:
                (role,) = pair.members
                missing = next(other for other in Role if other != role)
                reason = f"Twin {pair.id!r} waited {wait_s:g} s for its {missing} member, which did not arrive."
                refusals.append(Refusal(members, reason))
            elif pair.running:
                reason = f"Twin {pair.id!r} could not go on for {wait_s:g} s: no room for both of its members."
                refusals.append(Refusal(members, reason))
        self.timeouts += len(refusals)
        return refusals

    def stuck(self) -> list[Refusal]:
        """Pairs that hold KV blocks and have nothing under way, when no request at all can run."""
        return [
            Refusal(list(pair.members.values()), f"Twin {pair.id!r} cannot go on: no room for both of its members.")
            for pair in self.pairs.values()
            if pair.running and not any(member.num_in_flight_tokens for member in pair.members.values())
        ]

    def parted(self, pair: Pair) -> Refusal:
        """The end of a pair of which one member samples without the other."""
        self.divergences += 1
        reason = f"Twin {pair.id!r} has diverged: its members were not admitted together."
        return Refusal(list(pair.members.values()), reason)

    def may_enter(self, request: "Request", room: int) -> bool:
        """Whether a waiting request may be admitted now, with `room` places left in the batch.

        At most one pair is half admitted at a time, and nobody overtakes its second member: so a batch or a cache
        cannot fill up with members whose twins no longer fit.
        """
        self._suspects = [pair for pair in self._suspects if pair.is_half_admitted]
        pair = self.pair_of(request)
        if any(half is not pair for half in self._suspects):
            return False
        if pair is None:
            return True
        if not pair.is_whole or (not pair.running and room < BOTH):
            return False
        self._suspects.append(pair)
        return True


def _flaw(pair: Pair) -> str | None:
    """What keeps two members from being one pair, as a sentence; None when nothing does, or one is still missing."""
    if not pair.is_whole:
        return None
    grounded, blind = pair.members[Role.GROUNDED], pair.members[Role.BLIND]
    assert grounded.sampling_params is not None
    assert blind.sampling_params is not None
    differing = disagreements(grounded.sampling_params, blind.sampling_params)
    if _adapter(grounded) != _adapter(blind):
        differing.append("adapter")
    if differing:
        return f"Twin {pair.id!r}: its members disagree on {', '.join(differing)}."
    if min(grounded.num_prompt_tokens, blind.num_prompt_tokens) < 2:
        return f"Twin {pair.id!r}: each member's prompt must have at least two tokens."
    return None


def _adapter(request: "Request") -> int | None:
    """What vLLM tells adapters apart by: a name may have stood for another one when the other member arrived."""
    return request.lora_request.lora_int_id if request.lora_request else None
