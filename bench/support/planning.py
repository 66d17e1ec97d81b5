"""Planning one unit against a base release: everything ``plan`` does but looking at targets."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from lastgood.domain.digest import digest_bytes
from lastgood.domain.plan import Plan
from lastgood.domain.release import Migration, Release
from lastgood.planning.difference import difference
from lastgood.planning.moves import Move, plan_deploy
from lastgood.planning.schema import SchemaState, schema_move
from lastgood.ports.estate import Rendered

OLD = b"[server]\nport = 1\nenvironment = old\n"


class Planner:
    """The base has another text in its first file; the databases already have the target's migrations."""

    def __init__(self) -> None:
        self._states: dict[tuple[Migration, ...], SchemaState] = {}
        self._old = digest_bytes(OLD)

    def base(self, rendered: Rendered) -> Release:
        """The release that the unit is on, as the store makes it: its name known, no part shared."""
        first, *others = rendered.release.files
        files = (replace(first, content=self._old), *others)
        base = deepcopy(replace(rendered.release, commit="before", files=files))
        for database in base.databases:
            self._state(database.migrations)
        _ = base.digest
        return base

    def plan(self, base: Release, rendered: Rendered) -> Plan:
        """The difference, the moves and the plan's digest."""
        target = rendered.release
        schemas = tuple(schema_move(d, self._state(d.migrations)) for d in target.databases)
        changes = difference(base, target, self._reader(rendered))
        plan = plan_deploy(Move(base, target, schemas, {}, lambda kind: (), changes))
        _ = plan.digest
        return plan

    @staticmethod
    def is_asked(plan: Plan) -> bool:
        """One file differs and nothing else, and there is a way back."""
        changes = plan.difference
        return len(changes.files) == 1 and not changes.settings and bool(plan.way_back)

    def _reader(self, rendered: Rendered) -> Callable[[str], bytes]:
        return lambda name: OLD if name == self._old else rendered.contents[name]

    def _state(self, migrations: tuple[Migration, ...]) -> SchemaState:
        """What a database would answer; that it has to be asked is not planning."""
        if migrations not in self._states:
            self._states[migrations] = SchemaState(tuple((m.name, m.digest) for m in migrations))
        return self._states[migrations]
