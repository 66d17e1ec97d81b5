"""What a restore does on a server that follows: readers there must not stay with the failed database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from lastgood.drivers.postgresql import replicas
from lastgood.testing.postgres_server import PostgresServer, standby
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.day import Day
from tests.drivers.postgresql.waiting import until


@pytest.fixture(scope="module")
def replica(server: PostgresServer) -> Iterator[PostgresServer]:
    with standby(server) as following:
        yield following


@pytest.fixture
def day(lab: Lab, replica: PostgresServer) -> Day:
    day = Day.begin(lab)
    day.migrate("UPDATE products SET price = 0;")
    lab.settings = {"replicas": [{"url": replica.url()}]}
    until(lambda: _price(replica, lab.name) == 0)
    return day


def _reader(replica: PostgresServer, name: str) -> psycopg.Connection[Any]:
    return psycopg.connect(replica.url(name), autocommit=True)


def _price(replica: PostgresServer, name: str) -> int:
    try:
        with _reader(replica, name) as connection:
            row = connection.execute("SELECT price::int FROM products WHERE id = 1").fetchone()
            return -1 if row is None else int(row[0])
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return -1


def notes(day: Day, **settings: object) -> str:
    return " | ".join(str(note) for note in day.lab.driver(**settings).neighbours(day.taken).notes)


def test_readers_of_the_failed_database_are_ended(day: Day, replica: PostgresServer) -> None:
    """Left alone they would read it for as long as they stay connected, as the next test shows."""
    name = day.lab.name
    with _reader(replica, name) as reader, _reader(replica, "postgres") as elsewhere:
        reader.execute("SELECT 1")
        swapped = day.go_back()
        assert swapped.notes == ()
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            reader.execute("SELECT price FROM products WHERE id = 1")
        elsewhere.execute("SELECT 1")
    assert _price(replica, name) == 10


def test_who_is_not_declared_is_told_of_and_stays(day: Day, replica: PostgresServer) -> None:
    until(lambda: "0 of them are declared" in notes(day, replicas=[]))
    assert "1 replicas follow this server (walreceiver (127.0.0.1))" in notes(day, replicas=[])
    day.lab.settings = {}
    with _reader(replica, day.lab.name) as reader:
        reader.execute("SELECT 1")
        day.go_back()
        until(lambda: _price(replica, day.lab.name) == 10)
        assert reader.execute("SELECT price::int FROM products WHERE id = 1").fetchone() == (0,)


def test_the_plan_says_who_follows_and_who_does_not(day: Day, replica: PostgresServer) -> None:
    told = notes(day)
    assert f"sessions on the replica 127.0.0.1:{replica.port}" in told
    assert "replicas follow this server" not in told
    assert "does not follow this server" in notes(day, replicas=[{"url": day.lab.server.url()}])
    silent = notes(day, replicas=[{"url": "postgresql://postgres@127.0.0.1:1/postgres"}])
    assert "the replica 127.0.0.1:1 does not answer" in silent


def test_one_that_is_behind_or_silent_is_named_with_what_to_do(
    day: Day, replica: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored database is open by then: nobody waits for a replica."""
    monkeypatch.setattr(replicas, "PATIENCE", 0.1)
    silent = {"url": "postgresql://postgres@127.0.0.1:1/postgres"}
    day.lab.settings = {"replicas": [{"url": replica.url()}, silent]}
    with _reader(replica, "postgres") as admin:
        admin.execute("SELECT pg_wal_replay_pause()")
        try:
            swapped = day.go_back()
            behind, down = (str(note) for note in swapped.notes)
            assert "has not replayed the swap yet" in behind
            assert swapped.failed in behind
            assert "could not be ended" in down
        finally:
            admin.execute("SELECT pg_wal_replay_resume()")
    assert day.lab.ask("SELECT price::int FROM products WHERE id = 1") == [(10,)]
