"""The order of steps, forward and back, computed without anything running."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Conflict, NotReversible
from lastgood.domain.plan import Difference, Reversibility, StepKind
from lastgood.domain.release import DatabaseTarget, FileEntry, Migration, Release, RoleSpec
from lastgood.domain.unit import Environment, Role, Target, UnitId
from lastgood.planning.difference import difference
from lastgood.planning.moves import Classes, Move, begun, plan_deploy, plan_heal, plan_rollback, revertible
from lastgood.planning.promotion import environments_before, was_verified
from lastgood.planning.schema import SchemaState, refuse_forward_only, schema_move

TEXT = b"text"
CONTENT = digest_bytes(TEXT)
EXACT = (Reversibility.EXACT, "", "")
MOVES_DATA = (Reversibility.BY_SNAPSHOT, "UPDATE t", "it changes or removes rows")
RESOURCE = "shop@prod/us"


def migration(name: str) -> Migration:
    return Migration(name, CONTENT, CONTENT, CONTENT)


def release(*migrations: str, text: str = "a", **changes: Any) -> Release:
    whole = Release(
        UnitId("storefront", "prod", "us"), "c1",
        files=(FileEntry("shop.toml", digest_bytes(text.encode())),),
        databases=(DatabaseTarget(RESOURCE, Target("postgresql"), tuple(map(migration, migrations))),),
        roles=(RoleSpec(Role.WEB, ("web",)), RoleSpec(Role.WORKER, ("worker",))),
        files_target=Target("files"), runtime=Target("process"), traffic=Target("caddy"),
    )  # fmt: skip
    return replace(whole, **changes)


def move(base: Release, target: Release, applied: tuple[str, ...], classes: Classes, back: bool) -> Move:
    state = SchemaState(tuple((name, migration(name).digest) for name in applied))
    schema = schema_move(target.databases[0], state)
    reverts = {RESOURCE: revertible(schema, classes)} if back else {}
    return Move(base, target, (schema,), classes, lambda kind: (2.0, 1.0, 9.0), Difference(), reverts)


def test_nothing_of_what_runs_is_touched_before_the_rehearsal() -> None:
    plan = plan_deploy(move(release("1"), release("1", "2", text="b"), ("1",), {"2": EXACT}, False))
    kinds = [step.kind for step in plan.steps]
    effects = (StepKind.MIGRATE, StepKind.START_GENERATION, StepKind.SWITCH_FILES, StepKind.SHIFT_TRAFFIC)
    assert kinds.index(StepKind.REHEARSE) < min(kinds.index(kind) for kind in effects)
    assert kinds.index(StepKind.SNAPSHOT) < kinds.index(StepKind.REHEARSE)


def test_traffic_goes_back_first_and_the_schema_last_of_all_that_is_undone() -> None:
    plan = plan_deploy(move(release("1"), release("1", "2", text="b"), ("1",), {"2": EXACT}, False))
    kinds = [step.kind for step in plan.way_back]
    assert kinds == [
        StepKind.START_GENERATION, StepKind.SHIFT_TRAFFIC, StepKind.COLLECT_EVIDENCE, StepKind.SWITCH_WORKERS,
        StepKind.SWITCH_FILES, StepKind.STOP_GENERATION, StepKind.SNAPSHOT, StepKind.REVERT_SCHEMA,
        StepKind.VERIFY,
    ]  # fmt: skip


def test_only_what_began_is_undone() -> None:
    plan = plan_deploy(move(release("1"), release("1", "2", text="b"), ("1",), {"2": EXACT}, False))
    migrate = next(step.id for step in plan.steps if step.kind is StepKind.MIGRATE)
    kinds = [step.kind for step in begun(plan.way_back, frozenset({migrate}))]
    assert kinds == [StepKind.COLLECT_EVIDENCE, StepKind.SNAPSHOT, StepKind.REVERT_SCHEMA, StepKind.VERIFY]


def test_undoing_stops_at_the_first_migration_that_moved_data() -> None:
    target = release("1", "2", "3", text="b")
    classes = {"2": MOVES_DATA, "3": EXACT}
    plan = plan_deploy(move(release("1"), target, ("1",), classes, False))
    reverted = [s.params["migration"] for s in plan.way_back if s.kind is StepKind.REVERT_SCHEMA]
    assert reverted == ["3"]
    assert any("2 moves data" in str(note) for note in plan.notes)


@pytest.mark.parametrize(
    ("classes", "reverted"),
    [
        ({"2": EXACT, "3": EXACT}, ["3", "2"]),
        ({"2": MOVES_DATA, "3": EXACT}, ["3"]),
        ({"2": EXACT, "3": MOVES_DATA}, []),
        ({}, []),
    ],
)
def test_a_rollback_takes_out_only_what_is_exact(classes: Classes, reverted: list[str]) -> None:
    base, target = release("1", "2", "3", text="b"), release("1")
    plan = plan_rollback(move(base, target, ("1", "2", "3"), classes, True))
    assert [s.params["migration"] for s in plan.steps if s.kind is StepKind.REVERT_SCHEMA] == reverted
    stays = [str(note) for note in plan.notes if "stays in shop@prod/us" in str(note)]
    assert len(stays) == 2 - len(reverted)


def test_what_another_unit_needs_stays_with_what_lies_under_it() -> None:
    applied = tuple((name, migration(name).digest) for name in ("1", "2", "3", "4"))
    found = schema_move(release("1").databases[0], SchemaState(applied, {"3": ("storefront@prod/de",)}))
    assert found.extra == ("4",)
    assert dict(found.kept) == {"3": ("storefront@prod/de",), "2": ()}


def test_a_migration_that_was_edited_after_its_deploy_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="edited"):
        schema_move(release("1").databases[0], SchemaState((("1", "sha256:other"),)))


def test_forward_only_is_refused_by_name() -> None:
    pending = schema_move(release("1").databases[0], SchemaState(()))
    with pytest.raises(NotReversible, match="migration 1"):
        refuse_forward_only(pending, {"1": (Reversibility.FORWARD_ONLY, "DO $$", "it can't be parsed")})


def test_estimates_are_medians_and_the_windows_are_known() -> None:
    plan = plan_deploy(move(release("1"), release("1", text="b"), ("1",), {}, False))
    by_kind = {step.kind: step.estimate for step in plan.steps}
    assert (by_kind[StepKind.SHIFT_TRAFFIC].seconds, by_kind[StepKind.SHIFT_TRAFFIC].measured) == (2.0, 3)
    assert by_kind[StepKind.GUARD].seconds == release().windows.guard


def test_healing_stops_nothing() -> None:
    here = release("1")
    kinds = {step.kind for step in plan_heal(move(here, here, ("1",), {}, False)).steps}
    assert StepKind.STOP_GENERATION not in kinds
    assert {StepKind.START_GENERATION, StepKind.SWITCH_FILES, StepKind.SHIFT_TRAFFIC} <= kinds


def test_a_plans_digest_binds_steps_and_not_estimates() -> None:
    made = move(release("1"), release("1", text="b"), ("1",), {}, False)
    plan = plan_deploy(made)
    assert plan.digest == plan_deploy(replace(made, timings=lambda kind: ())).digest
    assert plan.digest != plan_deploy(replace(made, target=release("1", text="c"))).digest


def test_equal_content_promotes_whatever_its_commit_and_secrets() -> None:
    order = [Environment(name, at) for at, name in enumerate(("dev", "staging", "prod"))]
    assert [e.name for e in environments_before("prod", order)] == ["staging", "dev"]
    verified = release("1", unit=UnitId("storefront", "staging", "us"))
    assert was_verified([replace(verified, commit="c2")], [verified])
    assert not was_verified([replace(verified, files=())], [verified])


def test_a_difference_shows_lines_and_names_but_nothing_where_nothing_changed() -> None:
    base, target = release("1", text="a"), release("1", text="b")
    texts = {f.content: t.encode() for f, t in ((base.files[0], "a\n"), (target.files[0], "b\n"))}
    found = difference(base, target, texts.__getitem__)
    assert [(f.path, f.change) for f in found.files] == [("shop.toml", "changed")]
    assert "+b" in found.files[0].diff
    assert not difference(base, base, texts.__getitem__)
