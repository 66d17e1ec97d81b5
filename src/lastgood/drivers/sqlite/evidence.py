"""What a root-cause analysis will want to know of the database, as it was when things went wrong."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.errors import DriverError
from lastgood.domain.observation import EvidenceItem
from lastgood.drivers.sqlite import contents, revisions
from lastgood.drivers.sqlite.connection import Store, one, size
from lastgood.drivers.sqlite.locks import holders


def collect(store: Store) -> Sequence[EvidenceItem]:
    """One JSON file a question; a file that can't be read is evidence too."""
    try:
        with store.reading() as connection:
            settings = ("journal_mode", "page_size", "freelist_count", "encoding", "user_version")
            database = {
                "path": str(store.path),
                "library": sqlite3.sqlite_version,
                "bytes": size(connection),
                "holders": list(holders(store.path)),
                **{name: one(connection, f"PRAGMA {name}") for name in settings},
            }
            counted = contents.counts(connection, contents.tables(connection))
            return [
                _item("database", [database]),
                _item("tables", [{"table": name, "rows": number} for name, number in counted.items()]),
                _item("revisions", [asdict(revision) for revision in revisions.read(connection)]),
            ]
    except DriverError as error:
        return [_item("unreadable", [{"error": str(error), "path": str(store.path)}])]


def _item(name: str, rows: Sequence[Mapping[str, Any]]) -> EvidenceItem:
    content = {"observed_at": datetime.now(UTC).isoformat(), "rows": rows}
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    return EvidenceItem(f"sqlite-{name}.json", text.encode())
