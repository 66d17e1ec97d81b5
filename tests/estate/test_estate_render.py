"""What a unit's release holds, and where each part comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.domain.criterion import SignalKind
from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import InvalidInput
from lastgood.domain.release import Artifact, Readiness, SecretReference, Windows
from lastgood.domain.unit import Environment, Role, Site, UnitId
from lastgood.ports.estate import Rendered
from tests.estate.repositories import CLEAN, Repository


def text(rendered: Rendered, path: str) -> str:
    entry = next(f for f in rendered.release.files if f.path == path)
    return rendered.contents[entry.content].decode()


def test_the_estate_knows_its_environments_sites_and_units(repository: Repository) -> None:
    estate = repository.reader.at("HEAD")
    assert estate.commit == repository.git("rev-parse", "HEAD")
    assert estate.environments == (
        Environment("dev", 0),
        Environment("prod", 1, criteria_required=True),
    )
    assert estate.sites == (Site("us", "own", "us-east"), Site("de", "amazon", "", ("prod",)))
    assert [str(unit) for unit in estate.units()] == ["web@dev/us", "web@prod/us", "web@prod/de"]


def test_a_service_can_restrict_itself(repository: Repository) -> None:
    with (repository.root / "services/web/service.yaml").open("a") as file:
        file.write("sites: [us]\nenvironments: [prod]\n")
    assert [str(unit) for unit in repository.estate().units()] == ["web@prod/us"]
    with pytest.raises(InvalidInput, match="no unit 'web@prod/de'"):
        repository.render("web@prod/de")


def test_files_are_rendered_from_four_layers(repository: Repository) -> None:
    rendered = repository.reader.at("HEAD").render(UnitId("web", "prod", "de"))
    assert text(rendered, "app.conf") == (
        "port=9000\ncurrency=EUR title=Shop\npay=https://pay.example 5\nunit=web@prod/de shop amazon\n"
    )
    assert text(rendered, "static/robots.txt") == "{{ not a template }}\n"
    assert text(repository.render("web@dev/us"), "app.conf").startswith(
        "port=8000\ncurrency=USD title=Shop\n"
    )


def test_every_content_is_there_under_its_digest(repository: Repository) -> None:
    rendered = repository.render("web@prod/us")
    release = rendered.release
    assert release.artifact is not None
    named = [f.content for f in (*release.files, *release.artifact.files)]
    named += [name for m in release.databases[0].migrations for name in (m.deploy, m.verify, m.revert)]
    named.append(release.databases[0].journey)
    assert len(named) == 8
    assert set(named) == set(rendered.contents)
    assert all(digest_bytes(content) == name for name, content in rendered.contents.items())


def test_the_artifact_is_its_folder_with_modes(repository: Repository) -> None:
    (repository.root / "services/web/app/app.py").chmod(0o775)
    (repository.root / "services/web/app/lib/part.py").chmod(0o600)
    repository.commit()
    for estate in (repository.estate(), repository.reader.at("HEAD")):
        artifact = estate.render(UnitId("web", "dev", "us")).release.artifact
        assert artifact is not None
        assert [(f.path, f.mode) for f in artifact.files] == [("app.py", 0o755), ("lib/part.py", 0o644)]
        assert artifact == Artifact.of(artifact.files)


def test_an_artifact_outside_git_is_read_now(repository: Repository, tmp_path: Path) -> None:
    built = tmp_path / "built" / "2"
    (built / "deep").mkdir(parents=True)
    (built / "deep/program").write_bytes(b"\0binary")
    (built / "deep/program").chmod(0o755)
    path = f'artifact: {{path: "{built.parent}/{{{{ values.version }}}}"}}'
    repository.edit("services/web/service.yaml", "artifact: {path: app}", path)
    repository.write({"services/web/values.yaml": CLEAN["services/web/values.yaml"] + "version: 2\n"})
    rendered = repository.render("web@prod/us")
    artifact = rendered.release.artifact
    assert artifact is not None
    assert [(f.path, f.mode, f.content) for f in artifact.files] == [
        ("deep/program", 0o755, digest_bytes(b"\0binary"))
    ]
    assert rendered.contents[digest_bytes(b"\0binary")] == b"\0binary"
    (built / "deep/link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="'deep/link', which is not a plain file"):
        repository.render("web@prod/us")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "holds no files"),
        ("../other", "leaves the folder"),
        ("/nonexistent/build", "does not exist"),
    ],
)
def test_an_artifact_that_is_not_there(repository: Repository, path: str, words: str) -> None:
    repository.edit("services/web/service.yaml", "{path: app}", f"{{path: {path}}}")
    with pytest.raises(InvalidInput, match=words) as caught:
        repository.render("web@prod/us")
    assert caught.value.where == "services/web/service.yaml:3"


def test_driver_settings_are_merged_and_rendered(repository: Repository) -> None:
    dev, prod = repository.render("web@dev/us").release, repository.render("web@prod/us").release
    assert dev.traffic is not None
    assert prod.traffic is not None
    assert dev.traffic.driver == "caddy"
    assert dev.traffic.settings == {
        "admin": "http://127.0.0.1:2019",
        "pointers": "/srv/pointers",
        "listen": "127.0.0.1:8000",
    }
    assert prod.traffic.settings["admin"] == "http://127.0.0.1:3000"
    assert dev.files_target is not None
    assert (dev.files_target.driver, dev.files_target.settings) == ("files", {"root": "/srv/files"})
    assert dev.runtime is not None
    assert (dev.runtime.driver, dev.runtime.settings) == ("process", {"root": "/srv/process"})


def test_roles_and_windows(repository: Repository) -> None:
    release = repository.render("web@prod/us").release
    web, worker = release.roles
    assert (web.role, web.command) == (Role.WEB, ("python3", "{artifact}/app.py", "{port}"))
    assert web.environment == {"REGION": "us-east", "WORKERS": "2"}
    assert (web.ready, web.stop_grace) == (Readiness("/healthz", 0.5), 60.0)
    assert (worker.role, worker.ready, worker.stop_grace) == (Role.WORKER, None, 5.0)
    assert release.windows == Windows(watch=1.5, guard=600.0, verify=10.0, recovery=3600.0)


def test_databases_and_secrets(repository: Repository) -> None:
    rendered = repository.render("web@prod/de")
    (database,) = rendered.release.databases
    assert database.resource == "shop@prod/de"
    assert database.target.driver == "postgresql"
    assert database.target.settings == {
        "lock_timeout": 2,
        "url": "postgresql://app@db/shop_prod_de",
        "password": {"secret": "DATABASE_SHOP_PASSWORD"},
    }
    assert (database.users, database.revision) == (("web",), "0001_orders")
    assert rendered.secrets == (
        SecretReference("PAYMENT_KEY", env="PAYMENT_KEY"),
        SecretReference("DATABASE_SHOP_PASSWORD", file="/run/secrets/shop"),
    )
    assert rendered.release.secrets == ()
    repository.edit("databases/shop/database.yaml", "scope: site", "scope: environment")
    assert repository.render("web@prod/de").release.databases[0].resource == "shop@prod"


def test_a_database_may_be_declared_in_lastgood_yaml(repository: Repository) -> None:
    (repository.root / "databases/shop/database.yaml").unlink()
    with (repository.root / "lastgood.yaml").open("a") as file:
        file.write(
            "databases:\n  shop: {driver: postgresql, url: 'postgresql://db/{{ estate }}', users: [web]}\n"
        )
    (database,) = repository.render("web@prod/us").release.databases
    assert database.target.settings["url"] == "postgresql://db/shop"
    assert database.revision == "0001_orders"
    assert [p for p in repository.lint() if p.severity == "error"] == []


def test_signals_know_whom_to_ask(repository: Repository) -> None:
    release = repository.render("web@prod/us").release
    assert release.traffic is not None
    orders, errors, probe = release.criteria
    assert (orders.name, orders.limit, orders.window, orders.least_sample) == ("orders", 0.97, 5.0, 20)
    assert orders.signal.settings == {"query": "select 1", "database": "shop", "resource": "shop@prod/us"}
    assert errors.signal.settings == {"target": release.traffic.settings}
    assert (errors.window, errors.least_sample) == (5.0, 20)
    assert probe.signal.kind is SignalKind.GAUGE
    assert probe.signal.settings == {"path": "/healthz", "target": release.traffic.settings}
    assert (probe.window, probe.least_sample) == (2.0, 3)


def test_the_same_content_is_the_same_release(repository: Repository) -> None:
    first = repository.reader.at("HEAD").render(UnitId("web", "prod", "us")).release
    repository.write({"docs/notes.md": "nothing that is deployed\n"})
    repository.commit()
    second = repository.reader.at("HEAD").render(UnitId("web", "prod", "us")).release
    worktree = repository.render("web@prod/us").release
    assert first.commit != second.commit
    assert worktree.commit == "worktree"
    assert first.digest == second.digest == worktree.digest
    repository.edit("services/web/values.yaml", "timeout: 3", "timeout: 4")
    repository.commit()
    changed = repository.reader.at("HEAD")
    assert changed.render(UnitId("web", "prod", "us")).release.digest == first.digest, (
        "prod has its own timeout"
    )
    assert changed.render(UnitId("web", "dev", "us")).release.digest != first.digest


def test_parts_can_be_included_but_are_no_files(repository: Repository) -> None:
    repository.write(
        {
            "services/web/templates/_parts/head.j2": "[{{ site }}]\n",
            "services/web/templates/_macros.j2": "{% macro line(k) %}{{ k }}={{ values[k] }}{% endmacro %}",
            "services/web/templates/made.ini.j2": "{% include '_parts/head.j2' %}"
            "{% from '_macros.j2' import line with context %}{{ line('port') }}\n",
        }
    )
    rendered = repository.render("web@prod/de")
    assert [f.path for f in rendered.release.files] == ["app.conf", "made.ini", "static/robots.txt"]
    assert text(rendered, "made.ini") == "[de]\nport=9000\n"


def test_names_in_other_scripts_are_kept(repository: Repository) -> None:
    repository.write({"services/web/templates/größe/価格 表.conf.j2": "{{ values.port }} €\n"})
    repository.commit()
    rendered = repository.reader.at("HEAD").render(UnitId("web", "dev", "us"))
    assert text(rendered, "größe/価格 表.conf") == "8000 €\n"


def test_explain_names_layer_file_line_and_what_was_overridden(repository: Repository) -> None:
    found = repository.estate().explain(UnitId("web", "prod", "de"), "port")
    assert (found.key, found.value) == ("port", 9000)
    assert found.layers == (
        ("base", "services/web/values.yaml", 1, 8000),
        ("environment/site prod/de", "services/web/environments/prod/de.yaml", 1, 9000),
    )
    timeout = repository.estate().explain(UnitId("web", "prod", "us"), "payment.timeout")
    assert timeout.layers == (
        ("base", "services/web/values.yaml", 5, 3),
        ("environment prod", "services/web/environments/prod.yaml", 1, 5),
    )
    with pytest.raises(InvalidInput, match=r"no layer sets the key 'payment\.timeuot'") as caught:
        repository.estate().explain(UnitId("web", "prod", "us"), "payment.timeuot")
    assert str(caught.value.todo) == "Did you mean 'payment.timeout'?"


@pytest.mark.parametrize(
    ("unit", "words", "near"),
    [
        ("wab@prod/us", "no service 'wab'", "web"),
        ("web@prot/us", "no environment 'prot'", "prod"),
        ("web@prod/usa", "no site 'usa'", "us"),
        ("web@dev/de", "no unit 'web@dev/de'", "web@dev/us"),
    ],
)
def test_a_unit_that_does_not_exist(repository: Repository, unit: str, words: str, near: str) -> None:
    for ask in (repository.estate().render, lambda u: repository.estate().explain(u, "port")):
        with pytest.raises(InvalidInput, match=words) as caught:
            ask(UnitId.parse(unit))
        assert near in str(caught.value.todo)


def test_a_broken_service_does_not_stop_another(repository: Repository) -> None:
    repository.write({"services/broken/service.yaml": "owner: [\n"})
    assert repository.render("web@prod/us").release.files
    with pytest.raises(InvalidInput, match="not YAML"):
        repository.estate().units()
