"""Backed up while it works, lost, restored by the page's own commands: every accepted pair is there, once."""

import asyncio
import json
import shutil
from pathlib import Path

from sqlalchemy.engine import make_url

from pairs.model import PairId, Status
from tests.operations.conftest import Databases, Deploy, Deployment
from tests.operations.page import typed
from tests.operations.traffic import Traffic

LEASE_S = 1.0


async def test_what_was_accepted_before_a_backup_is_there_once_after_a_restore(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy(lease_s=LEASE_S)
    accepted = await _backed_up_under_traffic(deployment, tmp_path / "backup")
    deployment.lose_everything()
    typed("Restore on one machine", {"BACKUP": str(tmp_path / "backup"), "DATA": str(deployment.settings.data_dir)})
    deployment.start_valkey()
    await _goes_on_with(deployment, accepted)


async def test_the_same_on_postgresql(deploy: Deploy, databases: Databases, tmp_path: Path) -> None:
    deployment = deploy(lease_s=LEASE_S, database_url=databases.make(), blob_url=f"file://{tmp_path}/bucket")
    url, backup = make_url(deployment.settings.store_url), tmp_path / "backup"
    accepted = await _backed_up_under_traffic(deployment, backup, databases.programs)
    deployment.lose_everything()
    shutil.rmtree(tmp_path / "bucket")
    databases.lose(url)
    databases.make(url.database)
    places = {"VALKEY": deployment.settings.data_dir / "valkey", "IMAGES": tmp_path / "bucket", "BACKUP": backup}
    database = url.set(drivername="postgresql").render_as_string(hide_password=False)
    named = {name: str(place) for name, place in places.items()}
    typed("Restore part by part", {**named, "DATABASE": database}, databases.programs)
    deployment.start_valkey()
    await _goes_on_with(deployment, accepted)


async def _backed_up_under_traffic(deployment: Deployment, folder: Path, path: str = "") -> list[PairId]:
    """Back the deployment up amid its traffic; returns what it had accepted before that, finished and unfinished."""
    async with Traffic.on(deployment.settings) as traffic:
        await traffic.accept(40)
        async with traffic.flowing(accepting=True):
            await traffic.has_stored(20)
            before = list(traffic.accepted)
            done = {pair.id for pair in await traffic.stored()}
            environment = deployment.environment | {"BACKUP": str(folder)}
            await asyncio.to_thread(typed, "Back up", environment, path)
            assert len(traffic.accepted) > len(before), "the backup was taken while nothing was accepted"
    assert set(before) - done, "there was nothing unfinished to lose"
    assert json.loads((folder / "backup.json").read_text())["images"] >= len(before)
    return before


async def _goes_on_with(deployment: Deployment, accepted: list[PairId]) -> None:
    """Work goes on where it was; in the end each of `accepted` is stored, none is anything else, images are whole."""
    async with Traffic.on(deployment.settings) as traffic:
        known = set(await traffic.queue.in_flight(accepted)) | {pair.id for pair in await traffic.stored()}
        assert set(accepted) <= known
        async with traffic.flowing(accepting=False):
            assert (await traffic.settled()).dead == 0
        stored = await traffic.stored()
        ids = [pair.id for pair in stored]
        assert len(ids) == len(set(ids))
        assert set(accepted) <= set(ids)
        assert {pair.status for pair in stored} == {Status.DONE}
        for pair in stored:
            if pair.id in accepted:
                await traffic.blobs.get(pair.image.sha256)
