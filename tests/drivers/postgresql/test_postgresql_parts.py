"""Settings, signals, evidence, observation and the scanner."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.drivers.postgresql import driver
from lastgood.drivers.postgresql import signal as signal_module
from lastgood.drivers.postgresql.driver import create
from lastgood.drivers.postgresql.scan import split, tokens
from lastgood.drivers.postgresql.settings import KEYS, PostgresqlSettings
from lastgood.drivers.postgresql.warm import beginning
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS
from tests.drivers.postgresql.conftest import UNIT, Lab, Tools

URL = "postgresql://user@host:5433/shop"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "url"),
        ({"url": "mysql://x/y"}, "url"),
        ({"url": "postgresql://user@host:port/db"}, "url"),
        ({"url": "postgresql://user:pw@host/db"}, "holds a password"),
        ({"url": "postgresql://user@host"}, "no database"),
        ({"url": URL, "lock_timeout": "2s"}, "lock_timeout"),
        ({"url": URL, "statement_timeout": 0}, "statement_timeout"),
        ({"url": URL, "lock_deadline": True}, "lock_deadline"),
        ({"url": URL, "password": "in clear"}, "password"),
        ({"url": URL, "pasword": {}}, "pasword"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], word: str, tmp_path: Any) -> None:
    with pytest.raises(InvalidInput, match=word) as caught:
        create(UNIT, settings, Tools(tmp_path))
    assert str(caught.value.todo)
    assert "in clear" not in str(caught.value)


def test_settings_are_read() -> None:
    read = PostgresqlSettings.read({"url": URL})
    assert (read.database, read.address, read.resource) == ("shop", "host:5433", "shop")
    assert (read.lock_timeout, read.statement_timeout, read.lock_deadline) == (2.0, 60.0, 15.0)
    socket = PostgresqlSettings.read({"url": "postgresql://user@/shop?host=/run/pg&port=7"})
    assert socket.address == "/run/pg:7"


def test_it_works_over_the_socket_too(emptied_lab: Lab) -> None:
    driver = emptied_lab.driver(url=emptied_lab.server.socket_url(emptied_lab.name))
    driver.deploy(ORDERS, KEY)
    assert driver.prove(driver.snapshot("by socket")).proven_at


def gauge(query: str, kind: SignalKind = SignalKind.GAUGE) -> Signal:
    return Signal("depth", kind, "postgresql", {"query": query})


def test_a_gauge_is_one_number(emptied_lab: Lab) -> None:
    driver = emptied_lab.driver()
    for query, value in (("SELECT 3", 3.0), ("SELECT 2.5", 2.5), ("SELECT NULL", None)):
        reading = driver.read(gauge(query), driver.begin(gauge(query)))
        assert (reading.value, reading.error) == (value, "")
    assert driver.read(gauge("SELECT 1 WHERE false"), {"since": "now"}).value is None


@pytest.mark.parametrize(
    ("query", "kind", "error"),
    [
        ("SELECT 'three'", SignalKind.GAUGE, "str"),
        ("SELECT 1, 2", SignalKind.GAUGE, "one number"),
        ("SELECT 1 UNION SELECT 2", SignalKind.GAUGE, "more than one"),
        ("SELECT 1", SignalKind.RATIO, "two numbers"),
        ("SELECT 3, 2", SignalKind.RATIO, "good ≤ total"),
        ("SELECT nowhere", SignalKind.GAUGE, "nowhere"),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM x", SignalKind.GAUGE, "read-only"),
    ],
)
def test_a_wrong_answer_is_a_reading_with_an_error(
    emptied_lab: Lab, query: str, kind: SignalKind, error: str
) -> None:
    emptied_lab.ask("CREATE TABLE t (a int)")
    driver = emptied_lab.driver()
    signal = gauge(query, kind)
    reading = driver.read(signal, driver.begin(signal))
    assert error in reading.error
    assert (reading.good, reading.total, reading.value) == (0, 0, None)
    assert driver.read(gauge("SELECT 1"), {"since": "now"}).value == 1.0, "the session goes on"


@pytest.mark.parametrize(
    "query", ["", "DELETE FROM t", "SELECT 1; SELECT 2", "SELECT :until", "SELECT 'open", "COMMIT"]
)
def test_a_wrong_query_is_invalid(emptied_lab: Lab, query: str) -> None:
    with pytest.raises(InvalidInput):
        emptied_lab.driver().begin(gauge(query))


def test_a_slow_query_is_cut_off(emptied_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signal_module.TIMEOUT == 2.0
    monkeypatch.setattr(signal_module, "TIMEOUT", 0.2)
    start = time.monotonic()
    reading = emptied_lab.driver().read(gauge("SELECT 1 FROM pg_sleep(30)"), {"since": "now"})
    assert "statement timeout" in reading.error
    assert time.monotonic() - start < 5


def test_casts_slices_and_strings_are_no_parameters(emptied_lab: Lab) -> None:
    query = """
        SELECT count(*) FILTER (WHERE '{1,2,3}'::int[] = (ARRAY[1,2,3,4])[1:3]), count(*) /* :since % */
        FROM (SELECT ':since%s'::text AS ":since", now() >= :since::timestamptz) x WHERE 7 % 4 = 3"""
    signal = gauge(query, SignalKind.RATIO)
    driver = emptied_lab.driver()
    reading = driver.read(signal, driver.begin(signal))
    assert (reading.good, reading.total, reading.error) == (1, 1, "")


def test_one_session_serves_all_reads(emptied_lab: Lab) -> None:
    driver = emptied_lab.driver()
    pids = {driver.read(gauge("SELECT pg_backend_pid()"), {"since": "now"}).value for _ in range(3)}
    assert len(pids) == 1
    driver.close()
    assert driver.read(gauge("SELECT 1"), {"since": "now"}).value == 1.0


def test_evidence_is_json_with_what_matters(emptied_lab: Lab) -> None:
    driver = emptied_lab.driver()
    driver.deploy(ORDERS, KEY)
    with emptied_lab.session(application_name="shop", autocommit=False) as client:
        client.execute("LOCK TABLE orders; SELECT 'stuck'")
        items = {item.name: json.loads(item.content) for item in driver.evidence()}
    rows = {name.removeprefix("postgresql-").removesuffix(".json"): i["rows"] for name, i in items.items()}
    assert rows["revisions"][0]["name"] == ORDERS.name
    assert rows["server"][0]["log_position"].count("/") == 1
    (stuck,) = [r for r in rows["activity"] if r["application"] == "shop"]
    assert (stuck["state"], "stuck" in stuck["query"]) == ("idle in transaction", True)
    assert any(r["relation"] == "orders" and r["mode"] == "AccessExclusiveLock" for r in rows["locks"])


def test_a_server_that_is_gone_is_evidence(emptied_lab: Lab) -> None:
    (item,) = emptied_lab.driver(url="postgresql://postgres@127.0.0.1:1/shop").evidence()
    assert "127.0.0.1:1/shop does not answer" in json.loads(item.content)["rows"][0]["error"]


def test_what_is_observed(emptied_lab: Lab) -> None:
    driver = emptied_lab.driver()
    driver.deploy(ORDERS, KEY)
    driver.deploy(GIFTS, KEY)
    seen = driver.observe()
    assert seen.fingerprint == driver.fingerprint()
    assert seen.facts["migrations"] == [ORDERS.name, GIFTS.name]
    assert seen.at.utcoffset() is not None


def test_statements_are_split_where_the_server_splits_them() -> None:
    script = """
-- first; not here
SELECT ';', E'\\';', "a;b", $$;$$, $x$ $$;$$ $x$, U&'d;' /* ; /* ; */ ; */;
CREATE RULE r AS ON DELETE TO t DO INSTEAD (SELECT 1; SELECT 2);
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
SELECT $1, a$b$c FROM t;;
SELECT 1"""
    found = split(script, "deploy.sql")
    assert [s.line for s in found] == [3, 4, 5, 6, 7]
    assert [s.words[0] for s in found] == ["SELECT", "CREATE", "CREATE", "SELECT", "SELECT"]


@given(st.text(alphabet="a1;'\"$-/*\\E\n (é", max_size=40))
def test_no_character_is_lost_by_the_scanner(script: str) -> None:
    try:
        found = tokens(script, "x.sql")
    except InvalidInput:
        return
    assert "".join(t.text for t in found) == script
    for statement in split(script, "x.sql"):
        assert statement.text in script
        assert statement.text.strip() == statement.text


def test_the_readme_names_every_setting() -> None:
    text = Path(driver.__file__).with_name("README.md").read_text()
    table = text.split("| setting | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == KEYS
    for default in ("lock_timeout", "statement_timeout", "lock_deadline"):
        value = PostgresqlSettings.__dataclass_fields__[default].default
        assert re.search(rf"`{default}` \|.*default {value:.0f} \|", table)


def test_long_names_that_begin_alike_have_copies_of_their_own() -> None:
    names = [f"shop_production_eu_central_frankfurt_{site}" for site in ("üa", "üb")]
    found = [beginning(name) for name in ("shop", *names)]
    assert found[0] == "shop"
    assert len(set(found)) == 3
    assert all(len(name.encode()) <= 35 for name in found)
