"""Who may speak to whom: as the NetworkPolicies have it, and as the settings need it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any, Literal
from urllib.parse import urlsplit

from tests.k8s.rendering import Render, environment
from tests.k8s.selecting import matches

HERE = "judgefree"


@dataclass(frozen=True)
class Party:
    """A pod, of ours or of another namespace, or an address outside. `ports`: what it listens on, with names."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    namespace: str | None = HERE
    address: str | None = None
    ports: Mapping[int, str] = field(default_factory=dict, hash=False)


Direction = Literal["Egress", "Ingress"]
Flow = tuple[str, str, int]
"""From, to, port."""

DNS = Party("dns", {"k8s-app": "kube-dns"}, "kube-system", ports={53: "dns"})
NODE_DNS = Party("node's dns", {}, None, "169.254.20.10", {53: "dns"})
INGRESS = Party("ingress", {"app.kubernetes.io/name": "ingress-nginx"}, "ingress-nginx")
KEDA = Party("keda", {"app": "keda-operator"}, "keda")
PROMETHEUS = Party("prometheus", {"app.kubernetes.io/name": "prometheus"}, "monitoring", ports={9090: "web"})
COLLECTOR = Party("collector", {"app.kubernetes.io/name": "opentelemetry-collector"}, "monitoring", ports={4318: ""})
CNPG = Party("cnpg", {"app.kubernetes.io/name": "cloudnative-pg"}, "cnpg-system")
STRANGER = Party("stranger", {"app.kubernetes.io/component": "gateway"}, "default", ports={8080: "http"})
INTERNET = Party("internet", {}, None, "203.0.113.7", {80: "", 443: "", 5432: "", 6443: ""})
METADATA = Party("metadata", {}, None, "169.254.169.254", {80: "", 443: ""})
OUTSIDE = (DNS, NODE_DNS, INGRESS, KEDA, PROMETHEUS, COLLECTOR, CNPG, STRANGER, INTERNET, METADATA)
_UNASKED = 2222
"""A port that nobody listens on, and nobody may try."""
SOLVER = Party("acme solver", {"acme.cert-manager.io/http01-solver": "true"}, ports={8089: "http", _UNASKED: ""})
"""What cert-manager starts beside an Ingress while a certificate is made."""

NEEDS = {
    "gateway": ("redis_url", "database_url", "blob_url", "mllm_url"),
    "verifier": ("redis_url", "database_url", "blob_url"),
    "mllm": (),
    "migrate": ("database_url",),
    "trainer": ("database_url", "blob_url"),
    "pull-models": (),
    "valkey": (),
    "postgres": (),
    "loadtest": (),
    "loadtest-worker": (),
}
"""Of each component, the settings that it follows to another place."""


def parties(render: Render) -> list[Party]:
    ours = [Party(pod.owner, pod.labels, ports={**pod.ports(), _UNASKED: ""}) for pod in render.pods]
    databases = [
        Party(
            f"Cluster/{one['metadata']['name']}",
            {"cnpg.io/cluster": one["metadata"]["name"]},
            ports={5432: "", 8000: ""},
        )
        for one in render.of("Cluster")
    ]
    solvers = [SOLVER] if render.of("Ingress") else []
    return [*ours, *databases, *solvers, *OUTSIDE]


def allowed(render: Render, direction: Direction) -> set[Flow]:
    """What the policies for one direction let through, whatever those for the other say: both must be right."""
    policies = [one["spec"] for one in render.of("NetworkPolicy") if direction in one["spec"]["policyTypes"]]
    everyone = parties(render)
    ours = [party for party in everyone if party.namespace == HERE]
    pairs = product(ours, everyone) if direction == "Egress" else product(everyone, ours)
    return {
        (source.name, target.name, port)
        for source, target in pairs
        for port in target.ports
        if _lets(policies, source, target, port, direction)
    }


def concerned(flows: set[Flow], direction: Direction) -> set[Flow]:
    """Those flows that policies for the direction can say something of: from, or to, what is ours."""
    outside = {party.name for party in OUTSIDE}
    return {flow for flow in flows if flow[0 if direction == "Egress" else 1] not in outside}


def _lets(policies: list[Any], source: Party, target: Party, port: int, direction: Direction) -> bool:
    one, other = (source, target) if direction == "Egress" else (target, source)
    peers = "to" if direction == "Egress" else "from"
    own = [policy for policy in policies if matches(policy["podSelector"], one.labels)]
    rules = [rule for policy in own for rule in policy.get(direction.lower(), [])]
    return not own or any(
        any(_is(peer, other) for peer in rule[peers]) and _names(rule.get("ports"), port, target) for rule in rules
    )


def _is(peer: Mapping[str, Any], party: Party) -> bool:
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], party.address and ip_address(party.address)
        excepted = [ip_network(one) for one in block.get("except", [])]
        return bool(address and address in ip_network(block["cidr"]) and not any(address in one for one in excepted))
    if party.namespace is None:
        return False
    place = {"kubernetes.io/metadata.name": party.namespace}
    is_there = matches(peer["namespaceSelector"], place) if "namespaceSelector" in peer else party.namespace == HERE
    return is_there and matches(peer.get("podSelector", {}), party.labels)


def _names(ports: list[Mapping[str, Any]] | None, port: int, target: Party) -> bool:
    return ports is None or any(one["port"] in (port, target.ports[port] or None) for one in ports)


def needed(render: Render, secrets: Mapping[str, str]) -> set[Flow]:
    """What the settings need; `secrets` has the values of `<SECRET.KEY>`, as `environment` gives them."""
    found = set[Flow]()
    for pod in render.pods:
        found |= {(pod.owner, DNS.name, 53), (pod.owner, NODE_DNS.name, 53)}
        for container in pod.spec["containers"]:
            variables = environment(render, pod, container)
            for name in NEEDS[pod.component]:
                url = variables[f"JUDGEFREE_{name.upper()}"]
                found |= {(pod.owner, *end) for end in _ends(render, secrets.get(url, url))}
    found |= set(_of_clients(render)) | set(_of_operators(render))
    return found


def _ends(render: Render, url: str) -> Iterator[tuple[str, int]]:
    """Where a URL leads: the pods behind its Service, the database of an operator, or outside."""
    for one in url.split():
        parts = urlsplit(one)
        if parts.scheme == "file":
            continue
        if parts.scheme == "s3":
            yield INTERNET.name, 443
        else:
            yield from service_ends(render, parts.hostname or "", parts.port or 0)


def service_ends(render: Render, host: str, port: int) -> Iterator[tuple[str, int]]:
    """The pods, and their ports, behind a Service's name."""
    name = host.partition(".")[0]
    for cluster in render.of("Cluster"):
        if name == f"{cluster['metadata']['name']}-rw":
            yield f"Cluster/{cluster['metadata']['name']}", 5432
            return
    [service] = [one for one in render.of("Service") if one["metadata"]["name"] == name]
    [opened] = [one for one in service["spec"]["ports"] if one["port"] == port]
    for pod in render.pods:
        if matches({"matchLabels": service["spec"]["selector"]}, pod.labels):
            by_name = {label: number for number, label in pod.ports().items()}
            yield pod.owner, by_name[opened["targetPort"]]


def _of_clients(render: Render) -> Iterator[Flow]:
    """A client is told which shard to speak to, and may speak to any."""
    for pod in render.pods:
        if pod.owner == "CronJob/improve" or pod.component in ("loadtest", "loadtest-worker"):
            yield from ((pod.owner, gateway.owner, 8080) for gateway in render.pods_of("gateway"))
        if pod.owner == "CronJob/improve":
            yield from ((pod.owner, mllm.owner, 8000) for mllm in render.pods_of("mllm"))
        if pod.component == "loadtest-worker":
            yield pod.owner, "Job/loadtest", 5557
        if pod.component == "pull-models":
            yield pod.owner, INTERNET.name, 443


def _of_operators(render: Render) -> Iterator[Flow]:
    for one in render.of("Cluster"):
        name = f"Cluster/{one['metadata']['name']}"
        yield from ((name, dns.name, 53) for dns in (DNS, NODE_DNS))
        yield from ((name, name, port) for port in (5432, 8000))
        yield from ((name, INTERNET.name, port) for port in (443, 6443))  # Kubernetes' own API
        yield CNPG.name, name, 8000
    for pod in render.pods_of("trainer"):
        if pod.owner.startswith("JobSet/"):  # NCCL chooses its ports
            yield from ((pod.owner, pod.owner, port) for port in (*pod.ports(), _UNASKED))
    for monitor in render.of("PodMonitor"):
        for pod in [pod for pod in render.pods if matches(monitor["spec"]["selector"], pod.labels)]:
            opened = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
            yield from ((PROMETHEUS.name, pod.owner, port) for port, name in pod.ports().items() if name in opened)
            yield pod.owner, COLLECTOR.name, 4318  # the setting trace_url may name it
    if render.of("Ingress"):
        yield from ((INGRESS.name, pod.owner, 8080) for pod in render.pods_of("gateway"))
        yield from ((SOLVER.name, dns.name, 53) for dns in (DNS, NODE_DNS))
        yield INGRESS.name, SOLVER.name, 8089
    if render.of("ScaledObject"):
        yield from ((KEDA.name, pod.owner, 6379) for pod in render.pods_of("valkey"))
