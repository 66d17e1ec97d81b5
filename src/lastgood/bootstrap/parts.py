"""Builds the context of actions from the places on this machine."""

from __future__ import annotations

import os
import pwd
import socket

from lastgood.actions.context import Actor, Context
from lastgood.bootstrap.drivers import DriverRegistry
from lastgood.bootstrap.estate import LazyEstateReader
from lastgood.bootstrap.places import Places, make_state
from lastgood.clock import SystemClock
from lastgood.store.database import SqlStore, open_store
from lastgood.store.images import FileImages
from lastgood.store.objects import FileObjects
from lastgood.store.resolver import SecretSources
from lastgood.store.vault import AgeVault


def build_context(places: Places, store: SqlStore | None = None) -> Context:
    """Everything an action may use. The estate is opened by the actions that need it."""
    make_state(places)
    clock = SystemClock()
    objects = FileObjects(places.objects)
    vault = AgeVault(places.secrets, places.key)
    images = FileImages(places.images)
    return Context(
        store=store or open_store(places.state, clock),
        objects=objects,
        images=images,
        vault=vault,
        secrets=SecretSources(places.estate),
        drivers=DriverRegistry(objects, vault, images, places.state / "drivers"),
        clock=clock,
        actor=Actor(user_name(), origin()),
        state_directory=places.state,
        estate=LazyEstateReader(places.estate, places.state) if places.estate else None,
    )


def user_name() -> str:
    """The operating-system user by its uid; behind sudo, also who says to have called it."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return f"{name} (sudo: {behind})" if behind and behind != name else name


def origin() -> str:
    """Host, and terminal or process: where a request comes from."""
    try:
        terminal = os.ttyname(0).removeprefix("/dev/")
    except OSError:
        terminal = f"pid {os.getpid()}"
    return f"{socket.gethostname()} {terminal}"
