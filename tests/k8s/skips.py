"""Where a rule is not kept, and why. A skip that is needed nowhere fails a test."""

import re
from dataclasses import dataclass

from tests.k8s.rules import Complaint


@dataclass(frozen=True)
class Skip:
    rule: str
    places: str
    """A regular expression for the whole place."""
    reason: str

    def covers(self, complaint: Complaint) -> bool:
        return self.rule == complaint.rule and re.fullmatch(self.places, complaint.place) is not None


SKIPS = (
    Skip("image_by_digest", ".*", "a digest is known once an image is built and pushed: components/release takes it"),
    Skip("image_always_pulled", ".*", "images have a version, and one that was loaded into kind is in no registry"),
    Skip(
        "secrets_as_files",
        "(Deployment|Job|CronJob|JobSet)/.*",
        "settings are read from the environment and one TOML file, which is no place for secrets",
    ),
    Skip(
        "secrets_as_files",
        "StatefulSet/valkey.*/valkey",
        "valkey-cli takes its password, which the probes need, from the environment or the command line alone",
    ),
    Skip("secrets_as_files", "StatefulSet/postgres/postgres", "kind's own, with a password that is in the repository"),
    Skip("high_user_id", "StatefulSet/postgres/postgres", "initdb looks up its user's name, and the image's has 999"),
)
