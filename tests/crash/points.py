"""Every point at which the runner may die, generated from the program itself."""

from __future__ import annotations

from dataclasses import replace

from lastgood.domain.criterion import Criterion, Signal, SignalKind
from lastgood.domain.digest import digest_bytes
from lastgood.domain.plan import Difference, Plan, Reversibility
from lastgood.domain.release import Artifact, DatabaseTarget, FileEntry, Migration, Release, RoleSpec
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.planning.moves import Move, begun, plan_deploy
from lastgood.planning.schema import SchemaState, schema_move

RESOURCE = "orders@dev/us"
MOMENTS = ("before effect", "after effect", "after outcome")
END = ("before finish", "after finish")


def program(migrations: tuple[str, ...]) -> Plan:
    """The plan of a change of everything a unit can have; ``migrations``: names of the pending ones.

    Planning is pure, so this plan has the steps of the real one; the crash test checks that it does.
    """
    content = digest_bytes(b"")
    known = tuple(Migration(name, content, content, content) for name in ("0001_init", *migrations))
    signal = Signal("page", SignalKind.RATIO, "http")
    target = Release(
        UnitId("page", "dev", "us"), "c",
        files=(FileEntry("app.toml", content),),
        artifact=Artifact.of((FileEntry("app.py", content),)),
        databases=(DatabaseTarget(RESOURCE, Target("postgresql"), known),),
        roles=(RoleSpec(Role.WEB, ("web",)), RoleSpec(Role.WORKER, ("worker",))),
        files_target=Target("files"), runtime=Target("process"), traffic=Target("caddy"),
        criteria=(Criterion("page", signal, 0.9, 2.0, 2),),
    )  # fmt: skip
    base = replace(target, commit="b", files=(), databases=())
    schema = schema_move(target.databases[0], SchemaState((("0001_init", known[0].digest),)))
    classes = dict.fromkeys(migrations, (Reversibility.EXACT, "", ""))
    return plan_deploy(Move(base, target, (schema,), classes, lambda kind: (), Difference(settings=("x",))))


def forward_steps() -> list[str]:
    """The steps of a change that ends well, in their order."""
    return [step.id for step in program(("NEW",)).steps]


def back_steps() -> list[str]:
    """The steps of the way back of a change that broke its gate."""
    plan = program(("NEW",))
    return [step.id for step in begun(plan.way_back, frozenset(step.id for step in plan.steps))]
