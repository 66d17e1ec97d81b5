"""Ships every paid order exactly once."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import closing

from . import extras
from .database import Connection, Unreachable, connect
from .settings import Settings

CLAIM = "select id from orders where state = 'paid' order by id limit 20 for update skip locked"


def ship(connection: Connection, site: str) -> int:
    """Ship what is waiting, twenty orders at most; returns how many.

    Claimed, shipped and marked together or not at all; a second worker passes by what the first one holds.
    """
    with connection.transaction():
        claimed = connection.execute(CLAIM).fetchall()
        for (order,) in claimed:
            tracking = f"{site.upper()}{order:09d}"
            connection.execute(
                "insert into shipments (order_id, tracking) values (%s, %s)", (order, tracking)
            )
            connection.execute("update orders set state = 'shipped' where id = %s", (order,))
        return len(claimed)


def run(settings: Settings, *_: object, poll: float = 0.2) -> int:
    """Work until SIGTERM, looking each ``poll`` seconds when there is nothing to do."""
    # An event would have to take a lock, which the interrupted thread itself may just be holding.
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop.append(number))
    print(f"worker {extras.RELEASE} ships for {settings.site}", file=sys.stderr, flush=True)
    while not stop:
        try:
            with closing(connect(settings.database_url)) as connection:
                while not stop:
                    if not ship(connection, settings.site):
                        time.sleep(poll)
        except Unreachable as problem:
            print(f"worker: database: {type(problem).__name__}; trying again", file=sys.stderr, flush=True)
            time.sleep(1.0)
    return 0
