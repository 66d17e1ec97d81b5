"""What the shop wrote since a cut, by comparing: the snapshot, what migrations noted, and what is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lastgood.domain.message import N_, Message
from lastgood.domain.salvage import TableWrites
from lastgood.drivers.sqlite.compare import differs, matching, missing
from lastgood.drivers.sqlite.connection import Connection, one, quoted, rows
from lastgood.drivers.sqlite.merging import Merge, Row, Step, Value
from lastgood.drivers.sqlite.own import Own, noted
from lastgood.drivers.sqlite.shapes import Table, read_tables

CUT, NOW = "cut", "now"
"""Schemas as which the two files are attached."""
_CHANGED, _USUAL = "temp.changed", "temp.usual"

Key = tuple[Value, ...]


@dataclass(frozen=True)
class Salvager:
    """In a session that has both files attached. ``cut`` and ``now`` are their tables, ``own`` what
    migrations of ours did in between, by table.
    """

    connection: Connection
    cut: Mapping[str, Table]
    now: Mapping[str, Table]
    own: Mapping[str, Sequence[Own]]

    @classmethod
    def attach(cls, connection: Connection, cut: Path, now: Path) -> Salvager:
        """Files that nobody writes to. Raises sqlite3.Error."""
        for name, path in ((CUT, cut), (NOW, now)):
            connection.execute(f"ATTACH ? AS {name}", (f"file:{quote(str(path))}?mode=ro&immutable=1",))
        own: dict[str, list[Own]] = {}
        for record in noted(connection, NOW):
            own.setdefault(record.relation, []).append(record)
        return cls(connection, read_tables(connection, CUT), read_tables(connection, NOW), own)

    def detach(self) -> None:
        for name in (_CHANGED, _USUAL):
            self.connection.execute(f"DROP TABLE IF EXISTS {name}")
        for name in (CUT, NOW):
            self.connection.execute(f"DETACH {name}")

    def gaps(self) -> Iterator[Message]:
        """Why the comparison does not tell everything."""
        for name, table in sorted(self.cut.items()):
            now = self.now.get(name)
            if now is not None and not set(table.key) <= set(now.names):
                yield Message(
                    N_("table {table} has another key now: which of its rows are which is not known"),
                    {"table": name},
                )
            nulls = " OR ".join(f"{quoted(column)} IS NULL" for column in table.nullable)
            if nulls and any(
                one(self.connection, f"SELECT 1 FROM {schema}.{quoted(name)} WHERE {nulls} LIMIT 1")
                for schema in ((CUT, NOW) if now is not None and table.key == now.key else (CUT,))
            ):
                yield Message(
                    N_("table {table} has rows without a key: which of them are which is not known"),
                    {"table": name},
                )

    def count(self, keep: Sequence[str]) -> Iterator[TableWrites]:
        """Of each table that was written to."""
        for name in sorted(self.cut.keys() | self.now.keys()):
            counts = {"inserted": 0, "updated": 0, "deleted": 0, "": 0}
            for _, merge in self.merges(name):
                counts[merge.counted] += 1
            del counts[""]
            if any(counts.values()):
                yield TableWrites(name, kept=not keep or name in keep, **counts)

    def merges(self, name: str) -> Iterator[tuple[Key, Merge]]:
        """Rows that are not in both files as they were, and not by a migration alone."""
        cut, now = self.cut.get(name), self.now.get(name)
        table = cut or now
        assert table is not None, "it is in one of the two"
        if now is not None and not set(table.key) <= set(now.names):
            now = None
        self._find(table, cut, now)
        steps = self._steps(table)
        usual = self._usual(cut, now)
        keys = [f"h.k{at}" for at in range(len(table.key))]
        joins = [f"FROM {_CHANGED} AS h", *_joined(table, cut, CUT, "c"), *_joined(table, now, NOW, "n")]
        width, of_cut = len(keys), cut.names if cut else ()
        of_now = now.names if now else ()
        picked = [*keys, *_picked(cut, "c"), *_picked(now, "n")]
        for row in self.connection.execute(f"SELECT {', '.join(picked)} {' '.join(joins)}"):
            key, there = row[:width], row[width]
            was = dict(zip(of_cut, row[width + 1 :], strict=False)) if there else None
            rest = row[width + 1 + len(of_cut) :]
            new = dict(zip(of_now, rest[1:], strict=True)) if rest[0] else None
            yield key, Merge.of(was, steps.get(key, ()), new, usual)

    def _find(self, table: Table, cut: Table | None, now: Table | None) -> None:
        """Keys of the rows that are to be looked at, into the table of changed ones."""
        ask, width = self.connection.execute, len(table.key)
        ask(f"DROP TABLE IF EXISTS {_CHANGED}")
        columns = ", ".join(f"k{at}" for at in range(width))
        of = dict(table.collations)
        # So that a key is here once, however it was written in between.
        made = ", ".join(f"k{at} COLLATE {quoted(of.get(c, 'BINARY'))}" for at, c in enumerate(table.key))
        ask(f"CREATE TABLE {_CHANGED} ({made}, PRIMARY KEY ({columns}))")
        for one_, other in ((cut, now), (now, cut)):
            if one_ is not None:
                ask(f"INSERT OR IGNORE INTO {_CHANGED} {self._other(table, one_, other, one_ is cut)}")
        records = self.own.get(table.name, ())
        for own in records:
            if tuple(own.key) == table.key:
                ask(f"INSERT OR IGNORE INTO {_CHANGED} SELECT {columns} FROM {NOW}.{own.kept_in}")
        if len(records) == 1 and tuple(records[0].key) == table.key:
            self._leave_out(table, cut, now, records[0])

    def _other(self, table: Table, here: Table, there: Table | None, from_cut: bool) -> str:
        """Rows of ``here`` that ``there`` lacks, or, seen from the cut, has with other values."""
        schemas = (CUT, NOW) if from_cut else (NOW, CUT)
        keys = ", ".join(f"x.{quoted(column)}" for column in table.key)
        query = f"SELECT {keys} FROM {schemas[0]}.{quoted(here.name)} AS x"
        if there is None:
            return query
        query += f" LEFT JOIN {schemas[1]}.{quoted(there.name)} AS y ON {matching(table, 'y', 'x')}"
        condition = missing(there, "y")
        if from_cut:
            common = [name for name in here.names if name in there.names]
            condition += f" OR {differs(common, 'x', 'y')}"
            for column in there.columns:
                if column.name not in here.names:
                    condition += f" OR y.{quoted(column.name)} IS NOT {_default(column.default)}"
        return f"{query} WHERE {condition}"

    def _leave_out(self, table: Table, cut: Table | None, now: Table | None, own: Own) -> None:
        """Rows that only the migration changed are not the shop's."""
        keys = " AND ".join(f"h.k{at} IS o.k{at}" for at in range(len(table.key)))
        alike = []
        for side, names, there, alias in (("b", own.before, cut, "c"), ("a", own.after, now, "n")):
            if there is None:
                alike.append(f"o.{side} = 0")
                continue
            pairs = [
                f"o.{side}{at} IS {alias}.{quoted(name)} COLLATE BINARY "
                f"AND typeof(o.{side}{at}) = typeof({alias}.{quoted(name)})"
                for at, name in enumerate(names)
                if name in there.names
            ]
            gone = missing(there, alias)
            alike.append(
                f"(({gone} AND o.{side} = 0) OR (NOT {gone} AND {' AND '.join(['o.' + side, *pairs])}))"
            )
        joins = [*_joined(table, cut, CUT, "c"), *_joined(table, now, NOW, "n")]
        self.connection.execute(
            f"DELETE FROM {_CHANGED} WHERE rowid IN (SELECT h.rowid FROM {_CHANGED} AS h "
            f"JOIN {NOW}.{own.kept_in} AS o ON {keys} {' '.join(joins)} WHERE {' AND '.join(alike)})"
        )

    def _steps(self, table: Table) -> Mapping[Key, Sequence[Step]]:
        found: dict[Key, list[Step]] = {}
        keys = ", ".join(f"h.k{at}" for at in range(len(table.key)))
        for own in self.own.get(table.name, ()):
            if tuple(own.key) != table.key:
                continue
            match = " AND ".join(f"h.k{at} IS o.k{at}" for at in range(len(own.key)))
            width, middle = len(own.key), len(own.key) + 1 + len(own.before)
            picked = ", ".join(f"o.{column}" for column in own.columns.split(", ")[width:])
            for row in self.connection.execute(
                f"SELECT {keys}, {picked} FROM {NOW}.{own.kept_in} AS o JOIN {_CHANGED} AS h ON {match}"
            ):
                before = dict(zip(own.before, row[width + 1 : middle], strict=True)) if row[width] else None
                after = dict(zip(own.after, row[middle + 1 :], strict=True)) if row[middle] else None
                found.setdefault(row[:width], []).append(Step(before, after, own.doubt))
        return found

    def _usual(self, cut: Table | None, now: Table | None) -> Row:
        """What rows that were there got in columns that came since, as a column of its type holds it."""
        known = {c.name for c in cut.columns} if cut else set()
        new = [column for column in (now.columns if now else ()) if column.name not in known]
        if now is None or not new:
            return {}
        ask, names = self.connection.execute, ", ".join(quoted(column.name) for column in new)
        ask(f"DROP TABLE IF EXISTS {_USUAL}")
        ask(f"CREATE TABLE {_USUAL} AS SELECT {names} FROM {NOW}.{quoted(now.name)} LIMIT 0")
        ask(f"INSERT INTO {_USUAL} VALUES ({', '.join(_default(column.default) for column in new)})")
        (values,) = rows(self.connection, f"SELECT * FROM {_USUAL}")
        return {column.name: value for column, value in zip(new, values, strict=True)}


def _joined(table: Table, there: Table | None, schema: str, alias: str) -> list[str]:
    if there is None:
        return []
    match = " AND ".join(f"{alias}.{quoted(column)} IS h.k{at}" for at, column in enumerate(table.key))
    return [f"LEFT JOIN {schema}.{quoted(there.name)} AS {alias} ON {match}"]


def _picked(table: Table | None, alias: str) -> list[str]:
    """Whether it has the row, and its values."""
    if table is None:
        return ["0"]
    return [f"NOT ({missing(table, alias)})", *(f"{alias}.{quoted(name)}" for name in table.names)]


def _default(expression: str | None) -> str:
    return "NULL" if expression is None else f"({expression})"
