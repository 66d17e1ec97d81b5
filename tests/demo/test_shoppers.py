"""Customers against a real shop, and the ledger that holds what they were told against the database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from lastgood.demo import ledger
from lastgood.demo.shoppers import Seen
from tests.demo.shop_process import RunningShop, run_sql, wait_for

Start = Callable[..., RunningShop]


class Crowd:
    """The shoppers' process."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.out = out
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lastgood.demo.shoppers", "--out", str(out), *arguments]
        )

    def seen(self, kind: str = "") -> list[Seen]:
        everything = list(ledger.read(self.out)) if self.out.exists() else []
        return [seen for seen in everything if kind in ("", seen.kind)]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Callable[..., Crowd]]:
    begun: list[Crowd] = []

    def begin(*arguments: str) -> Crowd:
        begun.append(Crowd(tmp_path / "seen.jsonl", *arguments))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def sold(start: Start, crowd: Callable[..., Crowd], database: str) -> Path:
    """A file of what customers saw in a shop that sold and shipped at least twelve orders."""
    shop = start()
    start("worker")
    people = crowd("--target", f"us={shop.url}", "--rate", "120")
    wait_for(lambda: len(people.seen("checkout")) >= 12)
    people.stop()
    assert ledger.check(people.out, {"us": database}).whole
    return people.out


def change(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_good_shop_has_a_whole_ledger(start: Start, crowd: Callable[..., Crowd], database: str) -> None:
    shop, worker = start(), start("worker")
    people = crowd("--target", f"us={shop.url}", "--rate", "us=120")
    wait_for(lambda: len(people.seen("checkout")) >= 40)
    people.stop()
    result = ledger.check(people.out, {"us": database})
    assert result.whole
    assert result.failed == 0
    assert result.acknowledged == result.in_database == len(people.seen("checkout"))
    assert {seen.kind for seen in people.seen()} == {"browse", "cart", "checkout"}
    assert worker.stop() == 0


def test_the_rate_is_kept_while_the_shop_is_slow(start: Start, crowd: Callable[..., Crowd]) -> None:
    shop = start(payment="latency_ms = 150\n")
    people = crowd("--target", f"us={shop.url}", "--rate", "30")
    wait_for(lambda: len(people.seen()) >= 90)
    people.stop()
    seen = people.seen()
    lasted = max(s.at for s in seen) - min(s.at for s in seen)
    assert 22 < len(seen) / lasted < 38


def test_release_2_fails_one_checkout_in_five_for_real_customers(
    start: Start, crowd: Callable[..., Crowd], database: str
) -> None:
    run_sql(database, "0002_gift_notes", "deploy")
    shop = start(release=2, payment='three_ds = "required"\n')
    start("worker")
    people = crowd("--target", f"us={shop.url}", "--rate", "120")
    wait_for(lambda: len(people.seen("checkout")) >= 50)
    people.stop()
    checkouts = people.seen("checkout")
    share = sum(ledger.failed(seen) for seen in checkouts) / len(checkouts)
    assert 0.16 <= share <= 0.24
    assert not any(ledger.failed(seen) for seen in people.seen() if seen.kind != "checkout")
    halfway = sorted(seen.at for seen in checkouts)[len(checkouts) // 2]
    result = ledger.check(people.out, {"us": database}, since=halfway)
    assert result.whole
    assert 0 < result.failed_after < result.failed
    assert result.failures_after[0].status == 502
    run_sql(database, "0002_gift_notes", "revert")
    assert ledger.check(people.out, {"us": database}).whole, "a gift note was lost with its table"
    change(database, "update orders set remark = ''")
    assert ledger.check(people.out, {"us": database}).sites[0].notes_lost


def test_a_killed_shop_fails_requests_and_loses_no_order(
    start: Start, crowd: Callable[..., Crowd], database: str
) -> None:
    shop = start()
    start("worker")
    people = crowd("--target", f"us={shop.url}", "--rate", "150")
    wait_for(lambda: len(people.seen("checkout")) >= 15)
    shop.stop(signal.SIGKILL)
    wait_for(lambda: sum(seen.status == 0 for seen in people.seen()) >= 3)
    people.stop()
    result = ledger.check(people.out, {"us": database})
    assert result.whole
    assert result.failed >= 3
    assert result.in_database == result.acknowledged + len(result.sites[0].unheard)


def test_finds_an_order_that_is_gone(sold: Path, database: str) -> None:
    change(
        database,
        "delete from shipments where order_id = 3",
        "delete from payments where order_id = 3",
        "delete from order_lines where order_id = 3",
        "delete from orders where id = 3",
    )
    result = ledger.check(sold, {"us": database})
    assert not result.whole
    assert result.sites[0].missing == (3,)


def test_finds_what_was_shipped_twice_or_never(sold: Path, database: str) -> None:
    change(
        database,
        "alter table shipments drop constraint shipments_order_id_key",
        "insert into shipments (order_id, tracking) values (2, 'AGAIN')",
        "delete from shipments where order_id = 5",
    )
    site = ledger.check(sold, {"us": database}, patience=0.2).sites[0]
    assert site.not_shipped_once == (2, 5)
    row = ledger.row(site)
    assert row.shipped_once == row.in_database - 2
    assert [problem.en for problem in row.problems] == ["not shipped exactly once: 2, 5"]


def test_finds_what_was_paid_twice_or_wrongly(sold: Path, database: str) -> None:
    change(
        database,
        "alter table payments drop constraint payments_order_id_key",
        "insert into payments select 'again', order_id, amount, scheme, last_four"
        " from payments where order_id = 2",
        "update payments set amount = amount + 1 where order_id = 4",
    )
    assert ledger.check(sold, {"us": database}).sites[0].not_paid_once == (2, 4)


def test_finds_what_nobody_was_told(sold: Path, database: str) -> None:
    lines = [json.loads(line) for line in sold.read_text().splitlines()]
    told = [line for line in lines if line.get("order")]
    told[0]["status"], told[0]["order"] = 0, 0
    told[1]["status"], told[1]["order"] = 502, 0
    told[2]["order"] = told[3]["order"]
    sold.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"at": 1, "site": "us", "ki')
    found = ledger.check(sold, {"us": database}).sites[0]
    assert len(found.unheard) == 1
    assert len(found.unexplained) == 2, (
        "a refusal that was an order, and an order whose number went to another"
    )
    assert found.doubled == (told[3]["order"],)
    assert not found.whole
