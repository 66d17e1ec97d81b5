"""Whether a migration only added: then code that knows nothing of it can read and write as before."""

from __future__ import annotations

from collections.abc import Callable, Collection

from lastgood.sql.listing import Listing, Part


def only_added(
    before: Listing,
    after: Listing,
    *,
    tables: Collection[str],
    met: Callable[[str, Part], bool],
    apart: Callable[[str], bool],
    beside: Callable[[str, Part, bool], bool],
) -> bool:
    """Everything of ``before`` that code can meet (``met``: kind and object) is in ``after`` as it was, and
    what came refuses no write: ``apart`` judges the kind of what is new or belongs to what is new, ``beside``
    kind and object of what came to something old, and whether that is a table. ``tables`` are those kinds.
    """
    if any(met(key[0], part) and after.get(key) != part for key, part in before.items()):
        return False
    old = {name for kind, name in before if kind in tables}
    relations = {part.parent for part in before.values() if part.parent} | {name for _, name in before}
    return all(
        beside(kind, part, part.parent in old) if part.parent in relations else apart(kind)
        for (kind, name), part in after.items()
        if (kind, name) not in before
    )
