"""A gateway and a verifier in this process, as their own tests make them."""

from tests.clip.conftest import clip_folder, encoder, verifying, world
from tests.service.conftest import served

__all__ = ["clip_folder", "encoder", "served", "verifying", "world"]
