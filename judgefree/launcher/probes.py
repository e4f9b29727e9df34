"""Whether a part answers: an HTTP health page with status 200, or a Redis server that pongs."""

from dataclasses import dataclass

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
            async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
                return (await http.get(self.url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


@dataclass(frozen=True)
class RedisProbe:
    url: str

    async def answers(self) -> bool:
        redis = Redis.from_url(
            self.url,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(await redis.ping())
        except (RedisError, OSError):
            return False
        finally:
            await redis.aclose()


Probe = HttpProbe | RedisProbe
