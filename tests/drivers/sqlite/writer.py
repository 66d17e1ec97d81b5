"""A program of the shop: writes one numbered order after the other, and says which were acknowledged."""

from __future__ import annotations

import select
import sqlite3
import sys


def main(path: str, first: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=0.5)
    number = int(first)
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO orders (id, note) VALUES (?, 'bought')", (number,))
            connection.execute("UPDATE items SET stock = stock - 1 WHERE id = 2")
            connection.execute("COMMIT")
        except sqlite3.OperationalError:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            continue
        print(number, flush=True)
        number += 1
        # A customer thinks a little.
        select.select([], [], [], 0.002)


if __name__ == "__main__":
    main(*sys.argv[1:])
