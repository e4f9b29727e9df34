"""KEDA and Kubernetes' HorizontalPodAutoscaler as one pure step from a moment's metrics to a number of replicas.

After KEDA's pages "Scaling Deployments, StatefulSets & Custom Resources" and "ScaledObject specification", and
Kubernetes' page "Horizontal Pod Autoscaling" ("Algorithm details", "Configurable scaling behavior"): KEDA polls and
switches between none and some; above none the HPA decides, each trigger by its average value a replica, the largest
wish wins, then stabilisation over the wishes of a window, then the policies' limits on change in a period.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

SYNC_S: Final = 15
"""How often the HPA looks (kube-controller-manager's --horizontal-pod-autoscaler-sync-period, default)."""
TOLERANCE: Final = 0.1
"""The share by which a metric may miss its target without a change (the same manager's default)."""


Metric = Literal[
    "jobs", "candidates", "jobs lag", "candidates lag", "admitted", "generated", "filled", "requests waiting"
]
"""Entries of a stream that are not done; those of them that no worker has taken; pairs accepted, or generated, a second
over a window; the vLLMs that those accepted fill; requests for which vLLM has no room."""


@dataclass(frozen=True)
class Policy:
    """At most `value` replicas, or percent of them, more or fewer within `period_s`."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True)
class Rules:
    """One direction's `behavior`: wishes of the last `window_s` count; the policy with most (or least) change holds."""

    window_s: int
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


DEFAULT_UP: Final = Rules(0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_DOWN: Final = Rules(300, (Policy("Percent", 100, 15),))


@dataclass(frozen=True)
class Trigger:
    """A metric: wanted is `target` of it a replica; KEDA starts from none when it passes `activation`."""

    metric: Metric
    target: float
    activation: float = 0.0
    over_s: int = 0


@dataclass(frozen=True)
class Scaling:
    """What a ScaledObject says of the Deployment `part`; the defaults are KEDA's."""

    part: str
    triggers: tuple[Trigger, ...]
    least: int = 0
    most: int = 100
    polling_s: int = 30
    cooldown_s: int = 300
    up: Rules = DEFAULT_UP
    down: Rules = DEFAULT_DOWN


@dataclass(frozen=True)
class State:
    """What the controllers remember: (second, wish) of the stabilisation windows, (second, change) of the policies."""

    replicas: int
    wishes: tuple[tuple[int, int], ...] = ()
    changes: tuple[tuple[int, int], ...] = ()
    active_at: int = 0


def acts(scaling: Scaling, second: int) -> bool:
    """Whether KEDA or the HPA looks at the metrics in `second`."""
    return second % scaling.polling_s == 0 or second % SYNC_S == 0


def step(state: State, scaling: Scaling, second: int, metrics: Mapping[Trigger, float]) -> State:
    """The state after what KEDA and the HPA do in `second`, given each trigger's value (of all replicas together)."""
    if second % scaling.polling_s == 0:
        state = _poll(state, scaling, second, metrics)
    if second % SYNC_S == 0 and state.replicas > 0:
        state = _sync(state, scaling, second, metrics)
    return state


def _poll(state: State, scaling: Scaling, second: int, metrics: Mapping[Trigger, float]) -> State:
    if any(metrics[trigger] > trigger.activation for trigger in scaling.triggers):
        started = max(state.replicas, scaling.least, 1)
        return replace(state, replicas=started, active_at=second)
    if scaling.least == 0 and second - state.active_at >= scaling.cooldown_s:
        return State(0, active_at=state.active_at)
    return state


def _sync(state: State, scaling: Scaling, second: int, metrics: Mapping[Trigger, float]) -> State:
    now = state.replicas
    wish = max(_wished(now, trigger.target, metrics[trigger]) for trigger in scaling.triggers)
    wish = min(max(wish, scaling.least, 1), scaling.most)
    before = state.wishes or ((second, now),)  # the HPA begins with what it finds
    new = _limited(now, _stabilised(now, wish, before, scaling, second), scaling, second, state.changes)
    kept = max(scaling.up.window_s, scaling.down.window_s)
    wishes = (*(one for one in before if second - one[0] < kept), (second, wish))
    longest = max(policy.period_s for policy in (*scaling.up.policies, *scaling.down.policies))
    changes = tuple(one for one in state.changes if second - one[0] < longest)
    return replace(
        state, replicas=new, wishes=wishes, changes=(*changes, (second, new - now)) if new != now else changes
    )


def _wished(now: int, target: float, value: float) -> int:
    return now if abs(1 - value / (target * now)) <= TOLERANCE else math.ceil(value / target)


def _stabilised(now: int, wish: int, before: tuple[tuple[int, int], ...], scaling: Scaling, second: int) -> int:
    lowest = min([wish, *(one for at, one in before if second - at < scaling.up.window_s)])
    highest = max([wish, *(one for at, one in before if second - at < scaling.down.window_s)])
    return min(max(now, lowest), highest)


def _limited(now: int, wish: int, scaling: Scaling, second: int, changes: tuple[tuple[int, int], ...]) -> int:
    if wish > now:
        return min(wish, max(_limit(now, scaling.up, second, changes, 1), now), scaling.most)
    if wish < now:
        return max(wish, min(_limit(now, scaling.down, second, changes, -1), now), scaling.least, 1)
    return now


def _limit(now: int, rules: Rules, second: int, changes: tuple[tuple[int, int], ...], sign: Literal[1, -1]) -> int:
    """The furthest that the policies let the replicas go from where each one's period began."""
    if rules.select == "Disabled":
        return now
    limits = []
    for policy in rules.policies:
        start = now - sum(change for at, change in changes if second - at < policy.period_s)
        if policy.kind == "Pods":
            limits.append(start + sign * policy.value)
        else:
            reached = start * (1 + sign * policy.value / 100)
            limits.append(math.ceil(reached) if sign > 0 else math.floor(reached))
    is_furthest_up = (rules.select == "Max") == (sign > 0)
    return max(limits) if is_furthest_up else min(limits)
