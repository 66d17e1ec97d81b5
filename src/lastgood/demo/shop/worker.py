"""Ships every paid order exactly once."""

from __future__ import annotations

import signal
import sys
import time

import psycopg

from . import extras
from .settings import Settings

# One statement, so that claiming, shipping and marking happen together or not at all; skip locked
# lets a second worker pass by what the first one holds.
SHIP = """
with claimed as (
  select id from orders where state = 'paid' order by id limit 20 for update skip locked
), shipped as (
  insert into shipments (order_id, tracking)
  select id, upper(%s) || lpad(id::text, 9, '0') from claimed
  returning order_id
)
update orders set state = 'shipped' from shipped where orders.id = shipped.order_id
returning orders.id
"""


def ship(connection: psycopg.Connection, site: str) -> int:
    """Ship what is waiting, twenty orders at most; returns how many."""
    with connection.transaction():
        return len(connection.execute(SHIP, (site,)).fetchall())


def run(settings: Settings, *_: object, poll: float = 0.2) -> int:
    """Work until SIGTERM, looking each ``poll`` seconds when there is nothing to do."""
    # An event would have to take a lock, which the interrupted thread itself may just be holding.
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop.append(number))
    print(f"worker {extras.RELEASE} ships for {settings.site}", file=sys.stderr, flush=True)
    while not stop:
        try:
            with psycopg.connect(settings.database_url, autocommit=True, connect_timeout=5) as connection:
                while not stop:
                    if not ship(connection, settings.site):
                        time.sleep(poll)
        except psycopg.OperationalError as problem:
            print(f"worker: database: {type(problem).__name__}; trying again", file=sys.stderr, flush=True)
            time.sleep(1.0)
    return 0
