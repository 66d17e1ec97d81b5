"""The tables of steps in docs/design/architecture.md are the order in which plans have them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lastgood.domain.digest import digest_bytes
from lastgood.domain.image import Image
from lastgood.domain.plan import Difference, Reversibility, Step, StepKind
from lastgood.domain.release import (
    Artifact,
    CanaryStep,
    DatabaseTarget,
    FileEntry,
    Keep,
    Migration,
    Release,
    RoleSpec,
)
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.domain.warm_copy import Asked, CopyRoom
from lastgood.planning.moves import Move, plan_deploy, plan_rollback
from lastgood.planning.schema import SchemaState, schema_move
from tests.docs.reading import named

SECTION = named("docs/design/architecture.md").read_text(encoding="utf-8").partition("## The steps")[2]
FORWARD, BACK = SECTION.partition("\n## ")[0].split("| back,")
TEXT = digest_bytes(b"text")


def release(text: str, *migrations: str) -> Release:
    """With everything that a plan can have a step for."""
    entry = FileEntry("shop.toml", digest_bytes(text.encode()))
    steps = tuple(Migration(name, TEXT, TEXT, TEXT) for name in migrations)
    return Release(
        UnitId("shop", "prod", "us"), "c1", files=(entry,), artifact=Artifact.of((entry,)),
        databases=(DatabaseTarget("shop@prod/us", Target("postgresql"), steps),),
        roles=(RoleSpec(Role.WEB, ()), RoleSpec(Role.WORKER, ())),
        files_target=Target("files"), runtime=Target("docker"), traffic=Target("haproxy"),
        image=Image("registry.test/shop", TEXT, TEXT, TEXT, "linux/amd64", text),
        canary=(CanaryStep(5, 1), CanaryStep(25, 1)), keep=Keep(5, "archive", "/mnt/rescue"),
    )  # fmt: skip


def move(base: Release, target: Release, *applied: str) -> Move:
    """Where ``applied`` is what the database has: all of it can be reverted."""
    digests = {m.name: m.digest for r in (base, target) for m in r.databases[0].migrations}
    schema = schema_move(target.databases[0], SchemaState(tuple((n, digests[n]) for n in applied)))
    classes = dict.fromkeys(digests, (Reversibility.EXACT, "", ""))
    reverts = {"shop@prod/us": tuple(schema.extra)}
    return Move(base, target, (schema,), classes, lambda kind: (), Difference(), reverts, drains=True)


def kinds(steps: Sequence[Step]) -> list[str]:
    """Each once where several follow each other, so that every canary step is one pair."""
    found: list[str] = []
    for step in steps:
        if step.kind.value not in found[-2:]:
            found.append(step.kind.value)
    return found


def told(table: str) -> list[str]:
    rows = re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)
    return re.findall(r"`(\w+)`", " ".join(rows))


def test_a_deploy() -> None:
    """Of a change that moves data: only then a copy stands by."""
    one = move(release("old", "1"), release("new", "1", "2"), "1")
    moves = {**one.classes, "2": (Reversibility.BY_SNAPSHOT, "", "")}
    resource, room = "shop@prod/us", CopyRoom(1 << 40, asked=Asked.WARM)
    plan = plan_deploy(replace(one, classes=moves, captures={resource: None}, rooms={resource: room}))
    assert told(FORWARD) == kinds(plan.steps)


def test_a_way_back_warm_and_cold() -> None:
    cold = plan_rollback(move(release("new", "1", "2"), release("old", "1", "3"), "1", "2"))
    assert told(BACK) == kinds(cold.steps)
    warm = plan_deploy(move(release("old", "1"), release("new", "1", "2"), "1")).way_back
    assert told(BACK)[4:] == kinds(warm)


def test_every_kind_is_told() -> None:
    for kind in StepKind:
        assert f"`{kind.value}`" in FORWARD + BACK
