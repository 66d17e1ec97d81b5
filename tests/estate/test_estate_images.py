"""Images and the logins of their registries: rendered without asking anybody, passwords as references."""

from __future__ import annotations

from typing import Any

import pytest

from lastgood.domain.digest import plain
from lastgood.domain.errors import InvalidInput
from lastgood.domain.release import SecretReference
from lastgood.domain.unit import Target
from tests.estate.changes import SERVICE, as_text, edit
from tests.estate.repositories import Repository

NAME = "REGISTRY_REGISTRY_EXAMPLE_COM_PASSWORD"
LOGINS = """\
  registry:
    platform: linux/arm64
    hosts:
      registry.example.com: {username: ci, password: {env: REGISTRY_PASSWORD}}
      other.example.com: {username: me, password: {file: /run/secrets/other}}
"""


def with_image(repository: Repository, image: str, logins: str = LOGINS) -> Repository:
    edit(SERVICE, "artifact: {path: app}\nruntime: process", f"image: '{image}'")(repository)
    edit("lastgood.yaml", "  postgresql: {lock_timeout: 2}\n", logins)(repository)
    return repository


def registry_of(repository: Repository, unit: str = "web@dev/us") -> tuple[Target | None, set[str]]:
    rendered = repository.render(unit)
    return rendered.release.registry, {s.name for s in rendered.secrets}


def test_the_image_is_a_text_until_a_change_is_planned(repository: Repository) -> None:
    with_image(repository, "registry.example.com/shop/web:{{ values.port }}-{{ site }}")
    rendered = repository.render("web@prod/de")
    assert rendered.image == "registry.example.com/shop/web:9000-de"
    assert rendered.release.image is None
    assert [str(p) for p in repository.lint() if p.severity == "error"] == []


def test_a_value_that_only_the_image_uses_is_used(repository: Repository) -> None:
    with_image(repository, "registry.example.com/shop/web:{{ values.version }}")
    edit("services/web/values.yaml", "port:", "version: '1.4'\nport:")(repository)
    assert "version" not in as_text(repository.lint())


def test_a_release_has_the_one_login_it_needs_and_its_password_as_a_secret(repository: Repository) -> None:
    with_image(repository, "registry.example.com/shop/web:1.4")
    rendered = repository.render("web@dev/us")
    assert rendered.release.registry == Target("registry", {
        "platform": "linux/arm64",
        "hosts": {"registry.example.com": {"username": "ci", "password": {"secret": NAME}}},
    })  # fmt: skip
    assert SecretReference(NAME, env="REGISTRY_PASSWORD") in rendered.secrets
    assert "other" not in str(plain(rendered.release.registry))
    assert not any("OTHER" in secret.name for secret in rendered.secrets)


def test_a_registry_without_a_login_is_asked_without_one(repository: Repository) -> None:
    with_image(repository, "registry.example.org:5000/web@sha256:" + "0" * 64)
    target, secrets = registry_of(repository)
    assert target == Target("registry", {"platform": "linux/arm64", "hosts": {}})
    assert not any(name.startswith("REGISTRY_") for name in secrets)


def test_an_environment_and_a_service_have_their_own_logins(repository: Repository) -> None:
    with_image(repository, "registry.example.com/shop/web:1.4")
    own = "{driver: registry, hosts: {registry.example.com: {password: {file: '/run/{{ site }}'}}}}"
    edit(SERVICE, "image:", f"registry: {own}\nimage:")(repository)
    over = "      registry: {hosts: {registry.example.com: {username: prod}}}\n      caddy:"
    edit("lastgood.yaml", "      caddy:", over)(repository)
    found: dict[str, Any] = {}
    for unit in ("web@dev/us", "web@prod/us"):
        target, _ = registry_of(repository, unit)
        assert target is not None
        found[unit] = target.settings["hosts"]["registry.example.com"]["username"]
    assert found == {"web@dev/us": "ci", "web@prod/us": "prod"}


def test_without_an_image_there_is_no_registry(repository: Repository) -> None:
    edit("lastgood.yaml", "  postgresql: {lock_timeout: 2}\n", LOGINS)(repository)
    target, secrets = registry_of(repository)
    assert target is None
    assert not any(name.startswith("REGISTRY_") for name in secrets)


@pytest.mark.parametrize("image", ["shop/web:1.4", "https://registry.example.com/web", "r.test/Web", ""])
def test_what_is_no_image_is_found_where_it_stands(repository: Repository, image: str) -> None:
    text = "{{ '" + image + "' }}"  # what a template makes can be checked in no other way
    with_image(repository, text.replace("'", "''"))
    (found,) = [p for p in repository.lint() if p.severity == "error"]
    assert (found.path, found.line) == (SERVICE, 3)
    assert "is not an image" in str(found.what)
    assert "registry.example.com/shop/web:1.4" in str(found.mend)


PASSWORDS = ["hunter2", "{env: A, file: /b}", "{}", "{secret: X}", "{env: ''}", "[env]", "7"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("place", ["drivers", "environment", "service"])
def test_a_password_that_is_no_reference_is_found_and_gets_nowhere(
    repository: Repository, password: str, place: str
) -> None:
    login = f"{{registry.example.com: {{username: ci, password: {password}}}}}"
    with_image(
        repository,
        "registry.example.com/shop/web:1.4",
        f"  registry: {{hosts: {login}}}\n" if place == "drivers" else "",
    )
    if place == "environment":
        over = f"      registry: {{hosts: {login}}}\n      caddy:"
        edit("lastgood.yaml", "      caddy:", over)(repository)
    elif place == "service":
        edit(SERVICE, "image:", f"registry: {{driver: registry, hosts: {login}}}\nimage:")(repository)
    (found,) = [p for p in repository.lint() if p.severity == "error"]
    expected = (SERVICE, 3) if place == "service" else ("lastgood.yaml", 7 if place == "environment" else 15)
    assert (found.path, found.line) == expected
    assert "the password of the registry 'registry.example.com' is not a reference" in str(found.what)
    assert "hunter2" not in as_text([found])
    rendered = repository.render("web@prod/us")
    assert "hunter2" not in str(plain(rendered.release))
    assert not any(secret.name == NAME for secret in rendered.secrets)


@pytest.mark.parametrize(
    ("password", "what"),
    [("{env: hunter-2}", "not a variable's name"), ("{file: hunter2}", "not an absolute path")],
)
def test_a_reference_that_can_be_none_is_not_shown(repository: Repository, password: str, what: str) -> None:
    login = f"  registry: {{hosts: {{r.example.com: {{username: ci, password: {password}}}}}}}\n"
    edit("lastgood.yaml", "  postgresql: {lock_timeout: 2}\n", login)(repository)
    (found,) = [p for p in repository.lint() if p.severity == "error"]
    assert (found.path, found.line) == ("lastgood.yaml", 15)
    assert what in str(found.what)
    assert "hunter" not in as_text([found])


@pytest.mark.parametrize("hosts", ["[registry.example.com]", "{registry.example.com: ci}"])
def test_logins_are_a_mapping(repository: Repository, hosts: str) -> None:
    with_image(repository, "registry.example.com/shop/web:1.4", f"  registry: {{hosts: {hosts}}}\n")
    (found,) = [p for p in repository.lint() if p.severity == "error"]
    assert "must be a mapping" in str(found.what)
    assert registry_of(repository)[0] == Target("registry", {"hosts": {}})


def test_the_service_has_no_secret_of_that_name(repository: Repository) -> None:
    with_image(repository, "registry.example.com/shop/web:1.4")
    edit(SERVICE, "  PAYMENT_KEY:", f"  {NAME}: {{env: X}}\n  PAYMENT_KEY:")(repository)
    with pytest.raises(InvalidInput, match=NAME) as caught:
        repository.render("web@dev/us")
    assert caught.value.where == f"{SERVICE}:15"
