"""The one clock and the one way to make an id."""

from datetime import UTC, datetime

import uuid_utils

from pairs.model import PairId


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def new_pair_id() -> PairId:
    """A new id, UUIDv7 (RFC 9562): ids made later sort later, which the store's paging relies on."""
    return PairId(str(uuid_utils.uuid7()))
