"""The schema revisions this code knows, oldest first; apart, so that opening needs no Alembic."""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
HEAD = REVISIONS[-1]
