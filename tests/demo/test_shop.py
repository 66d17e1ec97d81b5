"""The shop of the demonstration, both releases, as processes on a real database."""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from lastgood.demo.shoppers import CARDS
from tests.demo.shop_process import KEY, RunningShop, run_sql, wait_for

Start = Callable[..., RunningShop]
SPLIT = 'three_ds = "required"\n'


def order(card: str = CARDS["visa"], key: str = "", **other: Any) -> dict[str, Any]:
    cart = [{"sku": "mug", "quantity": 2}, {"sku": "atlas", "quantity": 1}]
    return {"key": key or uuid.uuid4().hex, "customer": "c1", "card": card, "cart": cart, **other}


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"select count(*) from {table}").fetchone()
        assert row is not None
        return int(row[0])


def test_sells_and_ships_each_order_once(start: Start, database: str) -> None:
    shop, worker = start(), start("worker")
    second_worker = start("worker")
    assert shop.ask("/healthz") == (200, {"ok": True, "release": "1", "site": "us"})
    status, page = shop.ask("/")
    assert status == 200
    assert "Stoneware mug" in page
    assert "19.00 USD" in page
    assert shop.ask("/cart", {"cart": [{"sku": "mug", "quantity": 2}]})[1]["total"] == 3800
    for _ in range(30):
        status, receipt = shop.ask("/checkout", order())
        assert (status, receipt["total"]) == (201, 6200)
    wait_for(lambda: count(database, "orders where state = 'shipped'") == 30)
    assert count(database, "shipments") == count(database, "payments") == 30
    assert count(database, "attempts where state = 'ok' and finished_at is not null") == 30
    assert worker.stop() == second_worker.stop() == shop.stop() == 0


def test_the_same_key_buys_once(start: Start, database: str) -> None:
    shop = start()
    wanted = order(key="twice")
    assert shop.ask("/checkout", wanted) == shop.ask("/checkout", wanted)
    assert count(database, "orders") == 1


@pytest.mark.parametrize(
    "body",
    [
        {"cart": []},
        {"cart": [{"sku": "yacht", "quantity": 1}]},
        {"cart": [{"sku": "mug", "quantity": 0}]},
        {"cart": "mug"},
        {"card": "no number"},
        {"card": "9999"},
        {"customer": ""},
    ],
)
def test_refuses_what_it_cannot_sell(start: Start, database: str, body: dict[str, Any]) -> None:
    assert start().ask("/checkout", order() | body)[0] == 400
    assert count(database, "attempts") == 0


def test_attempt_is_on_record_when_the_payment_fails(start: Start, database: str) -> None:
    shop = start(payment="latency_ms = 2000\n")
    status, answer = shop.ask("/checkout", order())
    assert status == 502
    assert "did not answer in time" in answer["error"]
    assert count(database, "attempts where state = 'failed' and finished_at is not null") == 1
    assert count(database, "orders") == 0


def test_release_2_declines_one_scheme_in_five_where_challenges_are_required(
    start: Start, database: str
) -> None:
    run_sql(database, "0002_gift_notes", "deploy")
    shop = start(release=2, payment=SPLIT)
    assert shop.ask("/healthz")[0] == 200
    outcome = {
        name: shop.ask("/checkout", order(card, key=f"{name}{n}"))[0]
        for n in range(4)
        for name, card in CARDS.items()
    }
    assert outcome == {name: 502 if name == "amex" else 201 for name in CARDS}
    assert count(database, "attempts where state = 'failed'") * 5 == count(database, "attempts") == 20
    assert KEY not in shop.log.read_text()
    assert CARDS["amex"] not in shop.log.read_text()


@pytest.mark.parametrize("payment", ["", 'three_ds = "off"\n'])
def test_release_2_is_fine_where_they_are_not(start: Start, database: str, payment: str) -> None:
    run_sql(database, "0002_gift_notes", "deploy")
    shop = start(release=2, payment=payment)
    assert [shop.ask("/checkout", order(card))[0] for card in CARDS.values()] == [201] * 5


def test_release_1_runs_on_the_new_schema(start: Start, database: str) -> None:
    run_sql(database, "0002_gift_notes", "deploy")
    run_sql(database, "0001_init", "verify")
    shop = start(payment=SPLIT)
    worker = start("worker")
    assert [shop.ask("/checkout", order(card))[0] for card in CARDS.values()] == [201] * 5
    wait_for(lambda: count(database, "shipments") == 5)
    assert worker.stop() == 0


def test_gift_notes_outlive_the_schema_that_held_them(start: Start, database: str) -> None:
    run_sql(database, "0002_gift_notes", "deploy")
    run_sql(database, "0002_gift_notes", "verify")
    shop = start(release=2)
    _, receipt = shop.ask("/checkout", order(gift_note="Happy birthday!", remark="Ring twice"))
    assert count(database, "orders where gift_wrap") == count(database, "gift_notes") == 1
    run_sql(database, "0002_gift_notes", "revert")
    with psycopg.connect(database) as connection:
        row = connection.execute("select remark from orders where id = %s", (receipt["order"],)).fetchone()
    assert row == ("Ring twice\nGift note: Happy birthday!",)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        run_sql(database, "0002_gift_notes", "verify")


def test_sells_on_while_the_schema_moves_under_it(start: Start, database: str) -> None:
    shop = start()
    start("worker")
    answers: list[int] = []
    stop = threading.Event()

    def sell() -> None:
        while not stop.is_set():
            answers.append(shop.ask("/checkout", order())[0])

    sellers = [threading.Thread(target=sell) for _ in range(3)]
    for seller in sellers:
        seller.start()
    for _ in range(5):
        before = len(answers)
        run_sql(database, "0002_gift_notes", "deploy")
        run_sql(database, "0002_gift_notes", "revert")
        wait_for(lambda before=before: len(answers) > before + 5)
    stop.set()
    for seller in sellers:
        seller.join()
    assert set(answers) == {201}


def test_first_migration_leaves_nothing_behind(empty_database: str) -> None:
    run_sql(empty_database, "0001_init", "deploy")
    run_sql(empty_database, "0001_init", "verify")
    run_sql(empty_database, "0001_init", "revert")
    assert count(empty_database, "pg_class where relnamespace = 'public'::regnamespace") == 0
    with pytest.raises(psycopg.errors.UndefinedTable):
        run_sql(empty_database, "0001_init", "verify")


def test_stops_without_cutting_a_customer_off(start: Start, database: str) -> None:
    shop = start(payment="latency_ms = 600\n")
    idle = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)
    idle.request("GET", "/healthz")
    assert idle.getresponse().read()
    answers: list[int] = []
    customer = threading.Thread(target=lambda: answers.append(shop.ask("/checkout", order())[0]))
    customer.start()
    wait_for(lambda: count(database, "attempts where state = 'pending'") == 1)
    assert shop.stop() == 0
    customer.join()
    assert answers == [201]


def test_health_needs_the_database(start: Start, database: str, server_url: str) -> None:
    shop = start()
    name = database.rpartition("/")[2]
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f'alter database "{name}" with allow_connections false')
    assert shop.ask("/healthz")[0] == 503
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f'alter database "{name}" with allow_connections true')
    assert shop.ask("/healthz")[0] == 200


def test_says_what_it_misses(start: Start) -> None:
    shop = start(key="")
    assert shop.process.wait(timeout=20) == 2
    assert "PAYMENT_KEY is not set" in shop.log.read_text()
    broken = start(payment="timeout_ms = 1\n")
    assert broken.process.wait(timeout=20) == 2
    assert "Traceback" not in broken.log.read_text()
