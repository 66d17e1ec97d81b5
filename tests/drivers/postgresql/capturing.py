"""What tests of captures look at."""

from __future__ import annotations

from lastgood.domain.salvage import WritesSince
from tests.drivers.postgresql.conftest import Lab

SHOP = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
CREATE TABLE lines (order_id int, no int, article text, PRIMARY KEY (order_id, no));
INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 100) n;
"""


def slots(lab: Lab) -> list[str]:
    return [str(row[0]) for row in lab.ask("SELECT slot_name FROM pg_replication_slots ORDER BY 1")]


def publications(lab: Lab) -> list[str]:
    return [str(row[0]) for row in lab.ask("SELECT pubname FROM pg_publication ORDER BY 1")]


def published(lab: Lab) -> list[str]:
    return [str(row[0]) for row in lab.ask("SELECT tablename FROM pg_publication_tables ORDER BY 1")]


def told(writes: WritesSince) -> list[str]:
    return [str(reason) for reason in writes.reasons]
