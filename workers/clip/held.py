"""What a verifier has in hand."""

from dataclasses import dataclass
from datetime import datetime

from pairs.model import Candidate
from pairs.queue import Delivery


@dataclass(frozen=True)
class Held:
    """A candidate that this verifier holds, and since when."""

    delivery: Delivery[Candidate]
    taken_at: datetime

    @property
    def candidate(self) -> Candidate:
        return self.delivery.payload

    @property
    def sha256(self) -> str:
        return self.candidate.job.image.sha256
