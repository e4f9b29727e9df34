"""The Secrets of a render: those in it, and those that docs/deployment.md has made by hand."""

from base64 import b64decode

from tests.k8s.documented import secrets
from tests.k8s.rendering import Render


def known(render: Render) -> dict[str, dict[str, str]]:
    """Of each Secret, its keys and their values; where it is made by hand, what the page says in their place."""
    within = {
        one["metadata"]["name"]: {key: b64decode(value).decode() for key, value in one["data"].items()}
        for one in render.of("Secret")
    }
    return secrets() | within


def values(render: Render) -> dict[str, str]:
    """The same by `<SECRET.KEY>`, which is what `rendering.environment` has in their place."""
    return {f"<{name}.{key}>": value for name, data in known(render).items() for key, value in data.items()}
