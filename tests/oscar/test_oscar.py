"""The whole life of a real shop's schema: every migration of django-oscar there, and back again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from lastgood.domain.errors import Rejected
from lastgood.domain.plan import Reversibility
from lastgood.drivers.postgresql.classify import classify
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import Listing, difference, read_listing
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from tests.drivers.postgresql.conftest import Lab
from tests.oscar.conftest import PYTHON_ONLY, Step
from tests.oscar.filling import ROWS, fill

pytestmark = [pytest.mark.xdist_group("oscar"), pytest.mark.timeout(400)]

# Its deploy.sql removes a column that has to have a value, which its revert.sql can't give to rows.
NO_WAY_BACK = "catalogue_0002_auto_20150217_1221"
# They are Python and nothing else: of what they do to rows nothing is in their SQL.
ONLY_PYTHON = {
    "address_0005_regenerate_user_address_hashes", "auth_0011_update_proxy_permissions",
    "basket_0010_convert_to_valid_json", "catalogue_0003_data_migration_slugs",
    "catalogue_0024_remove_duplicate_attributes", "catalogue_0030_auto_20250217_1247",
    "customer_0008_assign_permissions_to_staff", "order_0012_convert_to_valid_json",
    "order_0017_set_num_allocated_to_quantity", "voucher_0009_make_voucher_names_unique",
}  # fmt: skip
# As Django prints them: a constraint that comes back under another name, columns that come back last.
REHEARSED = {
    "offer_0002_auto_20151210_1053": "offer_benefit.offer_benefit_proxy_class_key was not brought back",
    "partner_0006_auto_20200724_0909": "",
}
SOME_PYTHON = {"contenttypes_0002_remove_content_type_name", "catalogue_0019_option_required"}

Rows = dict[str, list[tuple[object, ...]]]


def listing(lab: Lab, name: str = "") -> Listing:
    name = name or lab.name
    server = Server(PostgresqlSettings.read({"url": lab.server.url(name)}), lab.tools.vault, name)
    with server.reading() as connection:
        return read_listing(connection)


def rows(lab: Lab) -> Rows:
    """Of every table, each by the names of its columns: their order is another thing."""
    tables = lab.ask(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    with lab.session() as connection:
        return {
            str(t): connection.execute(f'SELECT to_jsonb(t)::text FROM "{t}" t ORDER BY 1').fetchall()
            for (t,) in tables
        }


def compare(wanted: Listing, found: Listing) -> set[str]:
    """Tables whose columns stand in another order; nothing else may be different."""
    told = difference(unordered(wanted), unordered(found))
    assert told == ""
    return {
        name.removeprefix("public.")
        for (kind, name), part in wanted.items()
        if kind == "column order" and part != found[kind, name]
    }


def unordered(listing: Listing) -> Listing:
    return {key: part for key, part in listing.items() if key[0] != "column order"}


class Trip:
    """Through the migrations, one by one; ``before`` is the schema before each was deployed first."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.driver = lab.driver(lock_deadline=5)
        self.before: dict[str, Listing] = {}
        self.moved: set[str] = set()

    def there(self, steps: Sequence[Step]) -> dict[str, int]:
        """What came back of earlier rows, by migration and place."""
        returned: dict[str, int] = {}
        for step in steps:
            if step.title not in self.before:
                self.before[step.title] = listing(self.lab)
            for place, count in self.driver.deploy(step.script, "there").items():
                returned[f"{step.title} {place}"] = count
        return returned

    def back(self, steps: Sequence[Step]) -> dict[str, int]:
        """What was put aside; the schema is looked at after each step."""
        kept: dict[str, int] = {}
        for step in reversed(steps):
            for place, count in self.driver.revert(step.script, "back").items():
                kept[f"{step.title} {place}"] = count
            self.moved |= compare(self.before[step.title], listing(self.lab))
        return kept

    def continued_in(self, name: str) -> Trip:
        """In a copy of the database as it is."""
        self.lab.ask(f"CREATE DATABASE {name} TEMPLATE {self.lab.name}", name="postgres")
        trip = Trip(Lab(self.lab.server, name, self.lab.tools))
        trip.before, trip.moved = self.before, self.moved
        return trip


def test_every_migration_there_and_back_with_rows_in_every_table(
    lab: Lab, steps: tuple[Step, ...], printed: tuple[Step, ...]
) -> None:
    assert len(steps) == len({s.title for s in steps}) > 150
    trip = Trip(lab)
    start = listing(lab)
    assert trip.there(steps) == {}
    with lab.session() as connection:
        tables = fill(connection)
    assert len(tables) > 90
    was = rows(lab)
    assert all(len(found) == ROWS for found in was.values())

    at = [s.title for s in steps].index(NO_WAY_BACK)
    kept = trip.back(steps[at + 1 :])
    assert sum(kept.values()) > ROWS * 40
    with pytest.raises(Rejected, match=r"full_name.*contains null values"):
        trip.driver.revert(steps[at].script, "back")
    compare(trip.before[steps[at + 1].title], listing(lab))

    empty = trip.continued_in("oscar_copy")
    empty.lab.ask("TRUNCATE " + ", ".join(f'"{t}"' for t in rows(empty.lab)))
    assert empty.back(steps[: at + 1]) == {}
    assert listing(empty.lab) == start
    assert empty.moved == {
        "partner_stockrecord", "order_line", "communication_notification", "customer_notification",
        "django_content_type",
    }  # fmt: skip

    returned, reached = {}, at + 1
    for title, told in REHEARSED.items():
        stop = [s.title for s in steps].index(title)
        returned |= trip.there(steps[reached:stop])
        reached = stop
        seen = trip.driver.rehearse(trip.driver.snapshot(title), [printed[stop].script], [])
        assert told in seen.difference
        assert bool(told) == bool(seen.difference)
        assert (seen.fingerprint_before == seen.fingerprint_after) == (not told)
    returned |= trip.there(steps[reached:])
    assert returned == kept
    assert rows(lab) == was, "every row of every table is as it was"


def test_how_each_can_be_taken_back(steps: tuple[Step, ...]) -> None:
    found = {s.title: classify(s.script) for s in steps}
    by_snapshot = Counter(c.reason for c in found.values() if c.reversibility is Reversibility.BY_SNAPSHOT)
    assert by_snapshot == {
        "it drops a rule that later rows may break": 7,
        "it rewrites values in another type": 14,
        "it removes what a revert can't fill again": 4,
    }
    exact = [t for t, c in found.items() if c.reversibility is Reversibility.EXACT]
    assert len(exact) == len(steps) - sum(by_snapshot.values()), "nothing is forward only"


def test_python_in_a_migration_is_not_in_its_sql(steps: tuple[Step, ...]) -> None:
    """They deploy what remains: nothing, or the rest. The release itself has to do their work on rows."""
    python = {s.title: s for s in steps if s.python}
    assert python.keys() == ONLY_PYTHON | SOME_PYTHON
    for title, step in python.items():
        assert step.script.deploy.count(PYTHON_ONLY) == step.python
        bare = [line for line in step.script.deploy.splitlines() if not line.startswith("--")]
        assert (bare == ["BEGIN;", "COMMIT;"]) == (title in ONLY_PYTHON)
