"""A tag is looked up once, when a change is planned from a commit; what it named then is what travels on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lastgood.actions.context import Context
from lastgood.actions.deploy import deploy
from lastgood.actions.plan_change import plan_change
from lastgood.domain.digest import canonical, plain, short
from lastgood.domain.errors import Conflict, InvalidInput, Rejected, Unreachable
from lastgood.domain.image import Image
from lastgood.domain.plan import StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import UnitId
from lastgood.estate.reader import GitEstateReader
from lastgood.store.resolver import SecretSources
from lastgood.testing.fake_files import FakeFiles
from lastgood.testing.fake_runtime import FakeRuntime
from lastgood.testing.images import ImageBuild
from tests.actions.theatre import Proxy, Theatre
from tests.estate.repositories import Repository

DEV, PROD = UnitId("shop", "dev", "us"), UnitId("shop", "prod", "us")
PASSWORD = "opens-the-registry"
ESTATE = """\
name: shop
environments: [{name: dev}, {name: prod}]
sites: {us: {}}
drivers:
  registry:
    hosts:
      registry.example.com: {username: ci, password: {env: REGISTRY_PASSWORD}}
"""
SERVICE = """\
owner: shop-team
image: "registry.example.com/shop/web:{{ values.version }}"
runtime: runtime
files: files
traffic: proxy
roles:
  web: {}
  worker: {command: [work]}
secrets: {TOKEN: {env: TOKEN}}
signals:
  answers: {kind: ratio, driver: proxy}
criteria:
  answers: {signal: answers, limit: 0.95, window: 2s, least_sample: 20}
windows: {watch: 2s, guard: 2s, verify: 2s}
"""


class Stage:
    """An estate with an image, its two environments behind fakes, and the registry."""

    def __init__(self, theatre: Theatre, directory: Path) -> None:
        self.theatre = theatre
        self.registry = theatre.registry
        self.repository = Repository(directory)
        self.environment = {"REGISTRY_PASSWORD": PASSWORD, "TOKEN": "token"}
        for unit in (DEV, PROD):
            fakes: dict[str, object] = {
                "runtime": FakeRuntime(theatre.objects), "files": FakeFiles(theatre.objects),
                "proxy": Proxy(unit), "registry": self.registry,
            }  # fmt: skip
            theatre.drivers.built.update({(unit, name): fake for name, fake in fakes.items()})
        theatre.clock.passes.append(self._come)
        self.commit("1.0")

    def _come(self, seconds: float) -> None:
        for unit in (DEV, PROD):
            proxy = self.theatre.drivers.built[unit, "proxy"]
            assert isinstance(proxy, Proxy)
            proxy.customers(round(seconds * 100))

    def commit(self, version: str, **files: str) -> None:
        self.repository.write({
            "lastgood.yaml": ESTATE, "services/shop/service.yaml": SERVICE,
            "services/shop/values.yaml": f"version: '{version}'\n", **files,
        })  # fmt: skip
        self.repository.commit()

    @property
    def context(self) -> Context:
        return replace(
            self.theatre.context,
            estate=GitEstateReader(self.repository.root),
            secrets=SecretSources(self.repository.root, self.environment),
        )

    def push(self, tag: str, text: str = "") -> Image:
        return self.theatre.push(tag, text)

    def plan(self, unit: UnitId = DEV) -> Release:
        return plan_change(self.context, unit).release

    def deploy(self, unit: UnitId = DEV, plan: str = "") -> Rollout:
        accepted = deploy(self.context, unit, reason="r", owner="o", impact="i", plan=plan)
        return self.theatre.run(accepted.id)


@pytest.fixture
def stage(theatre: Theatre, tmp_path: Path) -> Stage:
    return Stage(theatre, tmp_path / "estate")


def test_the_tag_is_looked_up_once_and_its_digest_is_the_release(stage: Stage) -> None:
    image = stage.push("1.0")
    planned = plan_change(stage.context, DEV)
    assert planned.release.image == image
    assert stage.registry.asked == 1
    fetch = next(s for s in planned.plan.steps if s.kind is StepKind.FETCH_IMAGE)
    assert str(fetch.title) == "Fetch the image registry.example.com/shop/web:1.0"
    assert planned.plan.difference.image == ("", f"registry.example.com/shop/web:1.0@{short(image.digest)}")


def test_the_difference_shows_tag_and_digest_of_both(stage: Stage) -> None:
    first, second = stage.push("1.0"), stage.push("1.1")
    assert stage.deploy().state is RolloutState.VERIFIED
    stage.commit("1.1")
    difference = plan_change(stage.context, DEV).plan.difference
    assert difference.image == (f"1.0@{short(first.digest)}", f"1.1@{short(second.digest)}")
    assert difference.settings == ()


def test_the_same_image_under_another_tag_is_nothing_to_change(stage: Stage) -> None:
    stage.push("1.0", "text")
    stage.push("1.1", "text")
    stage.deploy()
    stage.commit("1.1")
    with pytest.raises(InvalidInput, match="nothing to change"):
        stage.plan()


def test_what_is_kept_and_how_is_a_change(stage: Stage) -> None:
    stage.push("1.0")
    stage.deploy()
    stage.commit("1.0", **{"services/shop/service.yaml": SERVICE + "keep: {image: engine}\n"})
    assert plan_change(stage.context, DEV).plan.difference.settings == ("keep",)


def test_a_tag_that_moved_since_the_plan_was_shown_is_a_conflict_with_both_digests(stage: Stage) -> None:
    shown = stage.push("1.0")
    plan = plan_change(stage.context, DEV).plan
    moved = stage.push("1.0", "something else")
    with pytest.raises(Conflict, match="has moved") as caught:
        stage.deploy(plan=plan.digest)
    assert shown.digest in str(caught.value)
    assert moved.digest in str(caught.value)
    with pytest.raises(Conflict, match="is not what would run now"):
        stage.deploy(plan="0" * 12)


def test_another_tag_than_was_shown_is_no_moved_tag(stage: Stage) -> None:
    stage.push("1.0")
    stage.push("1.1")
    plan = plan_change(stage.context, DEV).plan
    stage.commit("1.1")
    with pytest.raises(Conflict, match="is not what would run now"):
        stage.deploy(plan=plan.digest)


def test_what_was_verified_before_is_that_image(stage: Stage) -> None:
    stage.push("1.0")
    assert stage.deploy(DEV).state is RolloutState.VERIFIED
    asked = stage.registry.asked
    assert stage.plan(PROD).image == stage.push("1.0")
    assert stage.registry.asked == asked + 1, "one tag is looked up once, for all environments"
    stage.push("1.0", "something else")
    with pytest.raises(Conflict, match="was not verified in dev"):
        stage.plan(PROD)


def test_an_environment_before_may_have_another_image_of_its_own(stage: Stage) -> None:
    service = SERVICE.replace("shop/web:", "shop/{{ environment }}:")
    service = service.replace("{env: TOKEN}", "{env: 'TOKEN_{{ environment | upper }}'}")
    stage.environment |= {"TOKEN_DEV": "one", "TOKEN_PROD": "two"}
    stage.repository.write({"services/shop/service.yaml": service})
    stage.repository.commit()
    push_of(stage, "shop/dev:1.0")
    push_of(stage, "shop/prod:1.0")
    assert stage.deploy(DEV).state is RolloutState.VERIFIED
    del stage.environment["TOKEN_DEV"]  # who plans for production has no other secrets
    assert str(stage.plan(PROD).image) == "registry.example.com/shop/prod:1.0"
    push_of(stage, "shop/dev:1.0", user="another")
    with pytest.raises(Conflict, match="was not verified in dev"):
        stage.plan(PROD)


def push_of(stage: Stage, name: str, **fields: str) -> Image:
    return stage.registry.push(name, ImageBuild(["/x"], busybox=False, **fields))  # type: ignore[arg-type]


def test_what_the_registry_refuses_is_refused_at_planning(stage: Stage) -> None:
    with pytest.raises(Rejected, match=r"shop/web:1\.0"):
        stage.plan()
    push_of(stage, "shop/web:1.0", architecture="arm64")
    with pytest.raises(Rejected, match="not there for linux/amd64"):
        stage.plan()
    stage.registry.down = True
    with pytest.raises(Unreachable):
        stage.plan()


def test_a_digest_that_is_kept_here_needs_no_registry(stage: Stage) -> None:
    image = stage.push("1.0")
    stage.registry.fetch(image, stage.theatre.images)
    text = SERVICE.replace("web:{{ values.version }}", f"web@{image.digest}")
    stage.repository.write({"services/shop/service.yaml": text, "services/shop/values.yaml": "{}\n"})
    stage.repository.commit()
    stage.registry.down = True
    planned = stage.plan()
    assert planned.image == replace(image, tag="")
    assert stage.deploy().state is RolloutState.VERIFIED


def test_reading_an_estate_asks_no_registry(stage: Stage) -> None:
    stage.registry.down = True
    estate = stage.context.need_estate().at("HEAD")
    assert [str(p.what) for p in estate.lint() if p.severity == "error"] == []
    assert estate.render(DEV).image == "registry.example.com/shop/web:1.0"
    assert estate.explain(DEV, "version").value == "1.0"
    assert stage.registry.asked == 0


def test_the_login_is_sealed_at_planning_and_stands_nowhere_in_clear(stage: Stage) -> None:
    stage.push("1.0")
    planned = plan_change(stage.context, DEV)
    login = next(s for s in planned.release.secrets if s.name.startswith("REGISTRY_"))
    assert stage.theatre.context.vault.unseal(login) == PASSWORD
    for shown in (planned.release, planned.plan):
        assert PASSWORD not in str(plain(shown))
        assert PASSWORD.encode() not in canonical(shown)
    token = next(s for s in planned.release.secrets if s.name == "TOKEN")
    assert not stage.theatre.context.vault.has(token), "sealed when it is accepted"


@pytest.mark.parametrize("forget", [lambda e: e.pop("REGISTRY_PASSWORD"), lambda e: e.pop("TOKEN")])
def test_a_secret_that_is_missing_is_named(stage: Stage, forget: Callable[[dict[str, str]], str]) -> None:
    stage.push("1.0")
    forget(stage.environment)
    with pytest.raises(InvalidInput, match="is not set"):
        stage.plan()


def test_a_new_password_is_a_new_release_and_nothing_else(stage: Stage) -> None:
    stage.push("1.0")
    stage.deploy()
    stage.environment["REGISTRY_PASSWORD"] = "rotated"
    difference = plan_change(stage.context, DEV).plan.difference
    assert difference.secrets == ("REGISTRY_REGISTRY_EXAMPLE_COM_PASSWORD",)
    assert (difference.image, difference.settings) == (None, ())
