"""Where a unit's image comes from: of all logins the one that it needs, its password as a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.image import ImageReference
from lastgood.domain.message import N_
from lastgood.domain.release import SecretReference
from lastgood.domain.unit import Target
from lastgood.estate import model
from lastgood.estate.problems import invalid
from lastgood.estate.render import Context, Renderer

Make = Callable[[Context], Any]
WAYS = frozenset({"env", "file"})


def secret_name(host: str) -> str:
    """``REGISTRY_REGISTRY_EXAMPLE_COM_5000_PASSWORD``."""
    return f"REGISTRY_{re.sub('[^A-Z0-9]+', '_', host.upper()).strip('_')}_PASSWORD"


def image_maker(service: model.ServiceDeclared, renderer: Renderer) -> Make | None:
    """Makes the image's text for a unit; None for a service without one."""
    setting: Any = service.image
    if not setting:
        return None
    return renderer.settings(setting) or (lambda context: setting)


def image_of(
    service: model.ServiceDeclared, image: Make | None, registry: Make | None, context: Context
) -> tuple[str, Target | None, tuple[SecretReference, ...]]:
    """What one unit says: its image, the driver to ask for it, and where that one's password is read.

    Raises Invalid where the service names its image.
    """
    if image is None:
        return "", None, ()
    text = str(image(context))
    try:
        reference = ImageReference.parse(text)
    except InvalidInput as wrong:
        line = service.document.line(("image",))
        raise invalid(
            service.file, line, wrong.what.template, wrong.todo.template, **wrong.what.params
        ) from wrong
    if registry is None:
        return text, None, ()
    return text, *_registry_of(service, registry(context), reference)


def _registry_of(
    service: model.ServiceDeclared, target: Target, image: ImageReference
) -> tuple[Target, tuple[SecretReference, ...]]:
    """The driver with the login for the image's registry only, and where that one's password is read.

    What is no reference never gets into a release: lint says where it stands.
    """
    hosts = target.settings.get("hosts")
    if hosts is None:
        return target, ()
    login = hosts.get(image.host) if isinstance(hosts, Mapping) else None
    if not isinstance(login, Mapping):
        return _with_hosts(target, {}), ()
    password = login.get("password")
    if not isinstance(password, Mapping) or not is_reference(password):
        return _with_hosts(target, {image.host: {**login, "password": {}}}), ()
    name = secret_name(image.host)
    if any(secret.name == name for secret in service.secrets):
        raise invalid(
            service.file,
            service.document.line(("secrets", name)),
            N_("the secret '{name}' is the password of the registry '{host}'"),
            N_("Give the secret of the service another name: services don't get the password of a registry."),
            name=name,
            host=image.host,
        )
    named = _with_hosts(target, {image.host: {**login, "password": {"secret": name}}})
    return named, (SecretReference(name, **password),)


def _with_hosts(target: Target, hosts: Mapping[str, Any]) -> Target:
    return Target(target.driver, {**target.settings, "hosts": dict(hosts)})


def is_reference(password: object) -> bool:
    """Exactly one of ``env`` and ``file``."""
    return (
        isinstance(password, Mapping)
        and len(password) == 1
        and set(password) <= WAYS
        and all(isinstance(value, str) and value for value in password.values())
    )
