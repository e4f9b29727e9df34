"""From the data of a previous version: `previous/` was written by the code of commit 92cfc3c (stores had no version).

Its queue: jobs that wait, jobs and candidates in the hands of workers of then, a candidate that is stored and not
acknowledged, a dead letter. Its store: four finished pairs, one of them reviewed, and that candidate's.
"""

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from judgefree.cli import run
from pairs import migrations
from pairs.database import migrate_store, open_engine
from pairs.errors import WrongStoreVersion
from pairs.model import PairId, Verdict
from pairs.schema import versions
from pairs.store import Store
from tests.operations.conftest import Deploy, Deployment
from tests.operations.page import typed
from tests.operations.traffic import Traffic

PREVIOUS = Path(__file__).parent / "previous"


@pytest.fixture
def of_before(deploy: Deploy) -> Deployment:
    """A deployment on what the previous version has left, all of its parts ended."""
    deployment = deploy(lease_s=1.0, namespace="judgefree")
    deployment.lose_everything()
    queue = deployment.settings.data_dir / "valkey" / "appendonlydir"
    queue.mkdir(parents=True)
    shutil.copy(PREVIOUS / "queue.rdb", queue / "appendonly.aof.1.base.rdb")
    (queue / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")
    made = sqlite3.connect(deployment.settings.data_dir / "pairs.db")
    made.executescript((PREVIOUS / "pairs.sql").read_text())
    made.close()
    deployment.start_valkey()
    return deployment


async def test_what_the_previous_version_accepted_is_finished(of_before: Deployment, tmp_path: Path) -> None:
    known: dict[str, Any] = json.loads((PREVIOUS / "pairs.json").read_text())
    with pytest.raises(WrongStoreVersion, match="version 0 and this judgefree needs 1; back it up and run"):
        await Store.open(of_before.settings.store_url)
    environment = of_before.environment | {"BACKUP": str(tmp_path / "backup")}
    said = await asyncio.to_thread(typed, "Upgrade", environment)
    assert "The store went from version 0 to 1." in said
    async with Traffic.on(of_before.settings) as traffic:
        async with traffic.flowing(accepting=False):
            depth = await traffic.settled()
            letters = [letter async for letter in traffic.queue.dead_letters()]
            assert depth.dead == 1
            assert [letter.pair_id for letter in letters] == known["dead"]
            assert await traffic.queue.requeue(letters[0])
            assert (await traffic.settled()).dead == 0
        stored = {pair.id: pair for pair in await traffic.stored()}
        assert stored.keys() == set(known["stored"]) | set(known["in_flight"])
        assert stored[PairId(known["reviewed"])].verdict is Verdict.DISCARD


def test_a_command_on_another_version_is_one_sentence_and_exit_2(
    of_before: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in of_before.environment.items():
        monkeypatch.setenv(name, value)
    assert run(["adapters"]) == 2
    assert capsys.readouterr().err == (
        "judgefree: The store is at version 0 and this judgefree needs 1; back it up and run `judgefree migrate`.\n"
    )
    assert run(["migrate"]) == 0
    assert run(["migrate"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "The store is at version 1 already."
    assert run(["adapters"]) == 0


async def test_a_store_that_was_brought_forward_is_made_as_a_new_one(store_url: str, tmp_path: Path) -> None:
    """On both kinds of store; what a later judgefree has made is refused."""
    new = await open_engine(store_url)
    async with new.begin() as connection:
        as_made = await connection.run_sync(_shape)
        for table in as_made.keys() - {"pairs"}:
            await connection.execute(text(f"DROP TABLE {table}"))
        await connection.execute(text("DROP INDEX pairs_by_time"))
    assert await migrate_store(store_url) == (0, migrations.VERSION)
    async with new.begin() as connection:
        assert await connection.run_sync(_shape) == as_made
        await connection.execute(versions.update().values(version=migrations.VERSION + 1))
    await new.dispose()
    for way in (open_engine, migrate_store):
        with pytest.raises(WrongStoreVersion, match="use a later one, or restore a backup"):
            await way(store_url)


def _shape(connection: Connection) -> dict[str, Any]:
    """Of each table its columns with their types, and its indexes."""
    found = inspect(connection)
    return {
        table: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(table)),
            sorted((str(index["name"]), tuple(index["column_names"])) for index in found.get_indexes(table)),
        )
        for table in found.get_table_names()
    }
