"""The proof: what customers were told, held against what the databases say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.demo.report_data import LedgerRow, Words
from lastgood.demo.shop.database import Connection, MariaDb, connect
from lastgood.demo.shoppers import Seen

# "visitor" is whoever buys by hand on the shop's page; nobody wrote down what he was told.
READ = """
select o.id, o.attempt, o.remark,
  (select count(*) from payments p where p.order_id = o.id and p.amount = o.total),
  (select count(*) from shipments s where s.order_id = o.id)
from orders o where o.customer <> 'visitor' order by o.id
"""


@dataclass(frozen=True)
class SiteLedger:
    """One database. Every tuple but ``unheard`` must be empty; it holds order ids (``notes_lost``: too).

    ``unheard``: orders in the database whose customer got no answer at all, so nobody was told wrong.
    ``unexplained``: orders that no customer of ours was told about, and no lost answer explains.
    """

    site: str
    acknowledged: int
    in_database: int
    missing: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()
    not_paid_once: tuple[int, ...] = ()
    not_shipped_once: tuple[int, ...] = ()
    unheard: tuple[int, ...] = ()
    unexplained: tuple[int, ...] = ()
    notes_lost: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        return not (
            self.missing
            or self.doubled
            or self.not_paid_once
            or self.not_shipped_once
            or self.unexplained
            or self.notes_lost
        )


@dataclass(frozen=True)
class LedgerResult:
    """All sites. ``failed_after`` counts requests begun after the given time that failed in any way."""

    sites: tuple[SiteLedger, ...]
    requests: int
    failed: int
    failed_after: int
    failures_after: tuple[Seen, ...] = field(default_factory=tuple)

    @property
    def whole(self) -> bool:
        """Every acknowledged order is there once, paid once, shipped once; nothing else is."""
        return all(site.whole for site in self.sites)

    @property
    def acknowledged(self) -> int:
        return sum(site.acknowledged for site in self.sites)

    @property
    def in_database(self) -> int:
        return sum(site.in_database for site in self.sites)


def failed(seen: Seen) -> bool:
    """Whether the customer did not get what he asked for."""
    return seen.status == 0 or seen.status >= 400


def read(path: Path) -> Iterator[Seen]:
    """The lines of the shoppers' file; a last line cut short by a kill is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield Seen(**{"seconds": 0.0, **json.loads(line)})


def check(
    jsonl: Path, database_urls: Mapping[str, str], *, since: float | None = None, patience: float = 15.0
) -> LedgerResult:
    """Compare after the shoppers have stopped; waits up to ``patience`` seconds for the workers to drain.

    ``database_urls`` is keyed by the shoppers' site labels; ``since`` (seconds since 1970) is when the
    service was said to be back. Raises the database's own error when one can't be read.
    """
    everything = list(read(jsonl))
    bad = [seen for seen in everything if failed(seen)]
    after = tuple(seen for seen in bad if since is not None and seen.at >= since)
    deadline = time.monotonic() + patience
    sites = tuple(
        _site(site, url, [s for s in everything if s.site == site and s.kind == "checkout"], deadline)
        for site, url in database_urls.items()
    )
    return LedgerResult(sites, len(everything), len(bad), len(after), after[:50])


def _site(site: str, url: str, checkouts: list[Seen], deadline: float) -> SiteLedger:
    with closing(connect(url)) as connection:
        rows = _drained(connection, deadline)
        notes = _notes(connection)
    told = {seen.order: seen for seen in checkouts if seen.order}
    times_told: dict[int, int] = {}
    for seen in checkouts:
        if seen.order:
            times_told[seen.order] = times_told.get(seen.order, 0) + 1
    # An error page without the shop's own header came from the proxy: the shop's answer never arrived.
    lost_answers = {seen.key for seen in checkouts if not seen.order and not (seen.status and seen.release)}
    there = {row[0]: row for row in rows}
    silent = [row for row in rows if row[0] not in told]
    return SiteLedger(
        site=site,
        acknowledged=sum(times_told.values()),
        in_database=len(rows),
        missing=tuple(
            order for order, seen in told.items() if order not in there or there[order][1] != seen.key
        ),
        doubled=tuple(order for order, times in times_told.items() if times > 1),
        not_paid_once=tuple(row[0] for row in rows if row[3] != 1),
        not_shipped_once=tuple(row[0] for row in rows if row[4] != 1),
        unheard=tuple(row[0] for row in silent if row[1] in lost_answers),
        unexplained=tuple(row[0] for row in silent if row[1] not in lost_answers),
        notes_lost=tuple(
            order
            for order, seen in told.items()
            # Release 1 has no gift notes and says so by ignoring them: only later ones promised to keep one.
            if seen.note
            and seen.release not in ("", "1")
            and order in there
            and seen.note not in (there[order][2] + notes.get(order, ""))
        ),
    )


def _drained(connection: Connection, deadline: float) -> list[Any]:
    """The orders, when each has at least one shipment or the time is up."""
    while True:
        rows = list(connection.execute(READ).fetchall())
        if all(row[4] for row in rows) or time.monotonic() >= deadline:
            return rows
        time.sleep(0.1)


def _notes(connection: Connection) -> dict[int, str]:
    schema = "database()" if isinstance(connection, MariaDb) else "current_schema()"
    there = connection.execute(
        "select count(*) from information_schema.tables "
        f"where table_name = 'gift_notes' and table_schema = {schema}"
    ).fetchone()
    if not there or not there[0]:
        return {}
    return dict(connection.execute("select order_id, note from gift_notes").fetchall())


COMPLAINTS = {
    "missing": Words("acknowledged, but not in the database", "已确认但不在数据库中"),
    "doubled": Words("acknowledged twice", "被确认两次"),
    "not_paid_once": Words("not paid exactly once", "付款不是恰好一次"),
    "not_shipped_once": Words("not shipped exactly once", "发货不是恰好一次"),
    "unexplained": Words("in the database, but nobody was told", "在数据库中但从未确认给顾客"),
    "notes_lost": Words("lost its gift note", "丢失了礼品留言"),
}


def row(site: SiteLedger) -> LedgerRow:
    """One site's books for the report; each complaint names at most ten orders."""
    problems = []
    for name, words in COMPLAINTS.items():
        orders: tuple[int, ...] = getattr(site, name)
        if orders:
            some = ", ".join(map(str, orders[:10])) + (" …" if len(orders) > 10 else "")
            problems.append(Words(f"{words.en}: {some}", f"{words.zh}：{some}"))
    wrong = {*site.not_paid_once, *site.not_shipped_once}
    return LedgerRow(
        site.site, site.acknowledged, site.in_database, site.in_database - len(wrong), tuple(problems)
    )
