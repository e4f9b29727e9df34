"""Whether a part answers: an HTTP health page with status 200, or a Redis server that pongs."""

from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from urllib.parse import urlsplit

import httpx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class HttpProbe:
    url: str

    async def answers(self) -> bool:
        try:
            # Not through a proxy from the environment: the parts are on this machine.
            async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=_trusted()) as http:
                return (await http.get(self.url)).status_code == httpx.codes.OK
        except (httpx.HTTPError, httpx.InvalidURL):
            return False


@cache
def _trusted() -> SSLContext:
    """Read once: at 25 ms a time it would take a third of a core from the parts that are asked while they start."""
    return httpx.create_ssl_context(trust_env=False)


@dataclass(frozen=True)
class RedisProbe:
    url: str

    async def answers(self) -> bool:
        redis = self._connection()
        try:
            return bool(await redis.ping())
        except (RedisError, OSError):
            return False
        finally:
            await redis.aclose()

    async def what_a_crash_loses(self) -> str | None:
        """One sentence on why a pair that was accepted may not survive a crash of this Redis; None if it does."""
        redis = self._connection()
        try:
            said = await redis.config_get("appendonly", "appendfsync")
        except (RedisError, OSError):  # a hosted Redis keeps its configuration to itself
            return f"The Redis at {self.address} does not say whether it keeps what was accepted through a crash."
        finally:
            await redis.aclose()
        kept = {str(name): str(value) for name, value in said.items()}
        if kept.get("appendonly") == "yes" and kept.get("appendfsync") == "always":
            return None
        has = " and ".join(f"{name} {value}" for name, value in sorted(kept.items()))
        wanted = "appendonly yes and appendfsync always"
        return f"The Redis at {self.address} has {has}: accepted pairs may be lost when it crashes; set {wanted}."

    @property
    def address(self) -> str:
        """Where it listens, with no secret in it."""
        named = urlsplit(self.url)
        return named.path if named.scheme == "unix" else f"{named.hostname or 'localhost'}:{named.port or 6379}"

    def _connection(self) -> Redis:
        return Redis.from_url(
            self.url,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )


Probe = HttpProbe | RedisProbe
