"""What goes wrong with a real server: locks, rights, kills, lost answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from lastgood.domain.errors import Cause, DriverError, InvalidInput, OutcomeUnknown, Rejected, Unreachable
from lastgood.ports.drivers import MigrationScript
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.proxy import proxy
from tests.drivers.postgresql.waiting import until

SLOW = script(
    "0001_slow", "CREATE TABLE slow (id integer); SELECT pg_sleep(30);", "SELECT 1;", "DROP TABLE slow"
)
ROOT = Path(__file__).parents[3]


def test_a_lock_in_the_way_is_named(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    before = driver.fingerprint()
    with lab.session(application_name="month-end-report", autocommit=False) as reader:
        reader.execute("SELECT count(*) FROM orders /* month end */")
        with pytest.raises(Rejected) as caught:
            driver.deploy(GIFTS, KEY)
        told = str(caught.value)
        assert caught.value.cause is Cause.TABLE_LOCK
        assert "deploy.sql of 0002_gifts:1" in told
        for part in (
            f"pid {reader.info.backend_pid} (postgres, month-end-report from 127.0.0.1",
            "idle in transaction since 20",
            "query: SELECT count(*) FROM orders /* month end */",
        ):
            assert part in told
        assert driver.applied() == ((ORDERS.name, ORDERS.digest),)
    assert driver.fingerprint() == before
    driver.deploy(GIFTS, KEY)


def test_a_session_left_idle_in_a_transaction_is_ended_where_the_settings_say_so(lab: Lab) -> None:
    driver = lab.driver(end_idle_after=1.0, lock_deadline=20)
    driver.deploy(ORDERS, KEY)
    assert driver.sessions_ended() == ()
    with lab.session(application_name="left-open", autocommit=False) as idle:
        idle.execute("SELECT count(*) FROM orders")
        pid = idle.info.backend_pid
        driver.deploy(GIFTS, KEY)
        with pytest.raises(psycopg.OperationalError):
            idle.execute("SELECT 1")
    (ended,) = driver.sessions_ended()
    assert f"pid {pid} (postgres, left-open from" in ended
    assert driver.sessions_ended() == ()


def test_a_session_at_work_and_one_idle_for_a_moment_are_never_ended(lab: Lab) -> None:
    driver = lab.driver(end_idle_after=60.0)
    driver.deploy(ORDERS, KEY)
    with lab.session(autocommit=False) as moment, lab.session(autocommit=False) as busy:
        moment.execute("SELECT count(*) FROM orders")
        busy.execute("LOCK orders IN ACCESS SHARE MODE")
        work = threading.Thread(target=busy.execute, args=("SELECT pg_sleep(1.5)",))
        work.start()
        with pytest.raises(Rejected) as caught:
            driver.deploy(GIFTS, KEY)
        assert caught.value.cause is Cause.TABLE_LOCK
        moment.rollback()
        with pytest.raises(Rejected):
            lab.driver(end_idle_after=0.1).deploy(GIFTS, KEY)
        work.join()
        assert busy.execute("SELECT 1").fetchone() == (1,)
        assert moment.execute("SELECT 1").fetchone() == (1,)
    assert driver.sessions_ended() == ()


def test_a_lock_that_goes_away_in_time_is_waited_for(lab: Lab) -> None:
    driver = lab.driver(lock_deadline=20)
    driver.deploy(ORDERS, KEY)
    reader = lab.session(autocommit=False)
    reader.execute("SELECT count(*) FROM orders")
    threading.Timer(0.7, reader.close).start()
    driver.deploy(GIFTS, KEY)
    assert len(driver.applied()) == 2


def test_nobody_queues_behind_a_waiting_migration_for_longer_than_the_timeout(lab: Lab) -> None:
    timeout = 0.4
    driver = lab.driver(lock_timeout=timeout, lock_deadline=0.8)
    driver.deploy(ORDERS, KEY)
    waits: list[float] = []
    with lab.session(autocommit=False) as holder, lab.session() as shopper:
        holder.execute("SELECT count(*) FROM orders")
        migration, errors = _in_background(lambda: driver.deploy(GIFTS, KEY))
        while migration.is_alive():
            start = time.monotonic()
            shopper.execute("SELECT count(*) FROM orders")
            waits.append(time.monotonic() - start)
    assert [type(e) for e in errors] == [Rejected]
    assert max(waits) < timeout + 0.3
    assert max(waits) > timeout / 2, "the shopper never had to queue, so nothing was measured"


def test_two_at_once_deploy_once(lab: Lab) -> None:
    migration = script("0001_once", "CREATE TABLE once (id integer); SELECT pg_sleep(0.3);", "SELECT 1;", "")
    running = [_in_background(lambda: lab.driver(lock_deadline=20).deploy(migration, KEY)) for _ in range(3)]
    for thread, _ in running:
        thread.join()
    assert [errors for _, errors in running] == [[], [], []]
    assert lab.driver().applied() == ((migration.name, migration.digest),)


@pytest.fixture
def poor(lab: Lab) -> str:
    """A role that may connect and nothing else; its name."""
    name = f"poor_{lab.name}"
    lab.ask(f"CREATE ROLE {name} LOGIN")
    return name


def test_the_missing_right_is_named(lab: Lab, poor: str) -> None:
    lab.driver().deploy(ORDERS, KEY)
    url = lab.server.url(lab.name, poor)
    with pytest.raises(Rejected) as caught:
        lab.driver(url=url).deploy(GIFTS, KEY)
    assert caught.value.cause is Cause.PERMISSION
    assert "USAGE on schema lastgood" in str(caught.value.todo)
    lab.ask(f"GRANT USAGE ON SCHEMA lastgood TO {poor}; GRANT ALL ON lastgood.revisions TO {poor}")
    with pytest.raises(Rejected) as caught:
        lab.driver(url=url).deploy(GIFTS, KEY)
    assert caught.value.cause is Cause.PERMISSION
    assert "owner of table orders" in str(caught.value.todo)
    assert caught.value.where == "deploy.sql of 0002_gifts:1"
    creates = script("0003_new", "CREATE TABLE public.new (id integer);", "SELECT 1;", "")
    with pytest.raises(Rejected, match=poor) as caught:
        lab.driver(url=url).deploy(creates, KEY)
    assert "CREATE on schema public" in str(caught.value.todo)
    reads = script("0003_read", "\nSELECT * FROM orders;", "SELECT 1;", "")
    with pytest.raises(Rejected) as caught:
        lab.driver(url=url).deploy(reads, KEY)
    assert "SELECT on table orders" in str(caught.value.todo)


def test_a_first_migration_without_the_right_to_create_a_schema(lab: Lab, poor: str) -> None:
    with pytest.raises(Rejected) as caught:
        lab.driver(url=lab.server.url(lab.name, poor)).deploy(ORDERS, KEY)
    assert caught.value.cause is Cause.PERMISSION
    assert "CREATE on database" in str(caught.value.todo)


@pytest.mark.parametrize(
    ("deploy", "line"),
    [
        ("SELECT 1;\n\nSELECT\n  nowhere\nFROM pg_class;", 4),
        ("-- a comment\n/* two\n lines */ CREATE TABL x (id int);", 3),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1; END $$;\nSELEC f();", 4),
        ("SELECT 1;\nDO $x$ BEGIN RAISE EXCEPTION 'no; not today'; END $x$;", 2),
        ("SELECT 'é;';\nINSERT INTO nowhere VALUES ('ü;');", 2),
    ],
)
def test_a_script_error_names_file_and_line(lab: Lab, deploy: str, line: int) -> None:
    with pytest.raises(Rejected) as caught:
        lab.driver().deploy(script("0001_bad", deploy, "SELECT 1;", "SELECT 1;"), KEY)
    assert caught.value.cause is Cause.SCRIPT_ERROR
    assert f"deploy.sql of 0001_bad fails in line {line}:" in str(caught.value)
    assert caught.value.where == f"deploy.sql of 0001_bad:{line}"


def test_a_deferred_constraint_speaks_before_the_commit(lab: Lab) -> None:
    deploy = (
        "CREATE TABLE a (id int PRIMARY KEY);\n"
        "CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO b VALUES (1);"
    )
    with pytest.raises(Rejected) as caught:
        lab.driver().deploy(script("0001_late", deploy, "SELECT 1;", "SELECT 1;"), KEY)
    assert caught.value.where == "deploy.sql of 0001_late:3"
    assert "(1)" not in str(caught.value), "the detail holds a customer's values"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY i ON orders (id)",
        "VACUUM",
        "\\i other.sql",
        "COPY orders FROM STDIN",
        "SELECT '",
    ],
)
def test_what_cannot_run_in_a_transaction_is_refused(lab: Lab, statement: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        lab.driver().deploy(script("0001_bad", f"SELECT 1;\n{statement};", "SELECT 1;", ""), KEY)
    assert caught.value.where == "deploy.sql of 0001_bad:2"
    assert lab.driver().applied() == ()


def test_a_script_cannot_lift_the_timeouts_or_keep_its_role(lab: Lab) -> None:
    lab.driver().deploy(ORDERS, KEY)
    with lab.session(autocommit=False) as reader:
        reader.execute("SELECT count(*) FROM orders")
        lifts = script("0002_lifts", f"SET lock_timeout = 0;\n{GIFTS.deploy}", "SELECT 1;", "SELECT 1;")
        with pytest.raises(Rejected) as caught:
            lab.driver().deploy(lifts, KEY)
        assert caught.value.cause is Cause.TABLE_LOCK
    role = f"owner_{lab.name}"
    lab.ask(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}")
    owned = script("0002_owned", f"SET ROLE {role}; CREATE TABLE owned (id int);", "SELECT 1;", "SELECT 1;")
    lab.driver().deploy(owned, KEY)
    assert lab.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'owned'") == [(role,)]


def test_a_statement_that_takes_too_long(lab: Lab) -> None:
    with pytest.raises(Rejected, match="statement timeout") as caught:
        lab.driver(statement_timeout=0.2).deploy(SLOW, KEY)
    assert caught.value.cause is Cause.SCRIPT_ERROR
    assert "statement_timeout" in str(caught.value.todo)


def test_a_lost_answer_to_the_commit_is_unknown_and_the_next_look_knows(lab: Lab) -> None:
    with proxy(lab.server.port) as cable:
        url = f"postgresql://postgres@127.0.0.1:{cable.port}/{lab.name}"
        driver = lab.driver(url=url, lock_deadline=20)
        cable.cut_after = True
        with pytest.raises(OutcomeUnknown):
            driver.deploy(ORDERS, KEY)
        assert cable.cuts == 1
        cable.cut_after = False
        until(lambda: lab.driver().applied() == ((ORDERS.name, ORDERS.digest),))
        driver.deploy(ORDERS, KEY)
        assert driver.applied() == ((ORDERS.name, ORDERS.digest),)
        cable.cut_before = True
        with pytest.raises(OutcomeUnknown):
            driver.deploy(GIFTS, KEY)
        cable.cut_before = False
        assert [name for name, _ in driver.applied()] == [ORDERS.name]
        driver.deploy(GIFTS, KEY)
        cable.cut_after = True
        with pytest.raises(OutcomeUnknown):
            driver.revert(GIFTS, KEY)
        cable.cut_after = False
        driver.revert(GIFTS, KEY)
        assert [name for name, _ in driver.applied()] == [ORDERS.name]


def test_killed_between_deploy_and_commit_leaves_nothing_and_goes_on(lab: Lab, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.drivers.postgresql.migrate_alone", lab.server.url(lab.name),
         str(tmp_path), SLOW.deploy],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    until(lambda: lab.ask(sleeping))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    quick = script(SLOW.name, "CREATE TABLE slow (id integer);", "SELECT 1;", "DROP TABLE slow;")
    lab.driver(lock_deadline=20).deploy(quick, KEY)
    assert lab.driver().applied() == ((quick.name, quick.digest),)
    assert not lab.ask(sleeping), "the orphaned statement must not go on"


def _in_background(act: Callable[[], None]) -> tuple[threading.Thread, list[Exception]]:
    """A running thread, and what it raised."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            act()
        except DriverError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def _deploy_in_background(lab: Lab, migration: MigrationScript) -> tuple[threading.Thread, list[Exception]]:
    thread, errors = _in_background(lambda: lab.driver().deploy(migration, KEY))
    until(lambda: lab.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    return thread, errors


def test_the_postmaster_killed_during_a_migration_leaves_the_old_state(lab: Lab) -> None:
    lab.driver().deploy(ORDERS, KEY)
    before = lab.driver().fingerprint()
    slow = script("0002_slow", SLOW.deploy, SLOW.verify, SLOW.revert)
    thread, errors = _deploy_in_background(lab, slow)
    lab.server.kill()
    thread.join()
    assert [(type(e), e.cause) for e in errors if isinstance(e, Unreachable)] == [
        (Unreachable, Cause.DEPENDENCY_DOWN)
    ]
    with pytest.raises(Unreachable) as caught:
        lab.driver().applied()
    assert caught.value.cause is Cause.DEPENDENCY_DOWN
    lab.server.start()
    assert lab.driver().fingerprint() == before
    assert lab.driver().applied() == ((ORDERS.name, ORDERS.digest),)


def test_a_session_ended_by_an_administrator_is_unreachable(lab: Lab) -> None:
    thread, errors = _deploy_in_background(lab, SLOW)
    lab.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    thread.join()
    assert [type(e) for e in errors] == [Unreachable]
    assert lab.driver().applied() == ()


def test_a_database_that_is_not_there_is_a_wrong_path(lab: Lab) -> None:
    with pytest.raises(Rejected) as caught:
        lab.driver(url=lab.server.url("nowhere")).applied()
    assert caught.value.cause is Cause.WRONG_PATH


def test_a_user_that_is_not_let_in(lab: Lab) -> None:
    with pytest.raises(Rejected) as caught:
        lab.driver(url=lab.server.url(lab.name, "nobody_knows")).applied()
    assert caught.value.cause is Cause.PERMISSION


def test_the_password_comes_from_the_vault_and_shows_nowhere(lab: Lab) -> None:
    secret, user = "s3cret-words", f"locked_{lab.name}"
    lab.ask(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{secret}'")
    lab.server.admit(f"host {lab.name} {user} 127.0.0.1/32 scram-sha-256")
    url = lab.server.url(lab.name, user)
    until(lambda: _refused(lab, url))
    right, wrong = lab.tools.vault.seal("db", secret), lab.tools.vault.seal("db", "wrong-words")
    setting = {"secret": right.name, "version": right.version}
    driver = lab.driver(url=url, password=setting)
    driver.deploy(ORDERS, KEY)
    driver.prove(driver.snapshot("with a password"))
    with pytest.raises(Rejected) as caught:
        lab.driver(url=url, password={**setting, "version": wrong.version}).applied()
    assert caught.value.cause is Cause.PERMISSION
    assert "words" not in str(caught.value) + str(caught.value.todo) + repr(caught.value.what)
    kept = [p.read_bytes() for p in lab.tools.directory.rglob("*") if p.is_file()]
    assert kept
    assert not any(secret.encode() in content for content in kept)


def _refused(lab: Lab, url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False
