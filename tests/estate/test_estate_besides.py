"""Poolers in front of a database and replicas behind it, as a company declares them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.abilities import database_target
from lastgood.actions.secrets import secrets_of_service
from lastgood.domain.release import SecretReference, SecretVersion
from tests.estate.repositories import Repository

DATABASE = "databases/shop/database.yaml"
SERVICE = "services/web/service.yaml"


def test_what_is_beside_a_database_has_passwords_of_its_own(repository: Repository) -> None:
    """Named as secrets of the unit, so that they are kept sealed; the service does not get them."""
    with (repository.root / "databases/shop/database.yaml").open("a") as file:
        file.write(
            "poolers:\n  - {url: 'postgresql://admin@{{ site }}:6432/pgbouncer', password: {env: P}}\n"
            "replicas:\n  - url: postgresql://app@two/shop\n"
            "  - {url: postgresql://app@three/shop, password: {file: '/run/{{ site }}'}}\n"
        )
    rendered = repository.render("web@prod/de")
    settings = rendered.release.databases[0].target.settings
    pooler, replica = "DATABASE_SHOP_POOLERS_1_PASSWORD", "DATABASE_SHOP_REPLICAS_2_PASSWORD"
    assert settings["poolers"] == [
        {"url": "postgresql://admin@de:6432/pgbouncer", "password": {"secret": pooler}}
    ]
    assert settings["replicas"] == [
        {"url": "postgresql://app@two/shop"},
        {"url": "postgresql://app@three/shop", "password": {"secret": replica}},
    ]
    assert rendered.secrets[2:] == (
        SecretReference(pooler, env="P"),
        SecretReference(replica, file="/run/de"),
    )
    versions = tuple(SecretVersion(secret.name, "7") for secret in rendered.secrets)
    release = replace(rendered.release, secrets=versions)
    assert [s.name for s in secrets_of_service(release)] == ["PAYMENT_KEY", "DATABASE_SHOP_PASSWORD"]
    asked = database_target(release, release.databases[0]).settings
    assert asked["poolers"][0]["password"] == {"secret": pooler, "version": "7"}
    assert asked["replicas"][1]["password"] == {"secret": replica, "version": "7"}


WRONG = {
    "password in the url": (
        "poolers: [{url: 'postgresql://a:hunter2@db:6432/pgbouncer'}]",
        "holds a password",
        "name a secret",
    ),
    "password that is no reference": (
        "replicas: [{url: 'postgresql://a@b/c', password: {file: x}}]",
        "not an absolute path",
        "the value itself never stands",
    ),
    "setting that is none": ("replicas: [{url: 'postgresql://a@b/c', lag: 3}]", "lag", "url"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_found_where_it_stands(repository: Repository, case: str) -> None:
    line, what, mend = WRONG[case]
    repository.edit(DATABASE, "users:", f"{line}\nusers:")
    (found,) = [p for p in repository.lint() if p.severity == "error"]
    assert (found.path, found.line) == (DATABASE, 6)
    assert what in str(found.what)
    assert mend in str(found.mend)
    assert "hunter2" not in f"{found.what}{found.mend}"


def test_a_service_has_no_secret_with_the_name_of_a_poolers_password(repository: Repository) -> None:
    repository.edit(DATABASE, "users:", "poolers: [{url: 'postgresql://a@b/c', password: {env: P}}]\nusers:")
    repository.edit(SERVICE, "secrets:", "secrets:\n  DATABASE_SHOP_POOLERS_1_PASSWORD: {env: MINE}")
    (found,) = [p for p in repository.lint() if p.severity == "error"]
    assert "that of a pooler or replica of the database 'shop'" in str(found.what)
    assert "another name" in str(found.mend)
