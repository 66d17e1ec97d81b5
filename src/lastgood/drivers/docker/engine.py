"""The calls we make to an engine. What may well happen is a return value; every other refusal is an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any

import requests
from docker import errors as vendor

from lastgood.drivers.docker.connect import TIMEOUT, connect
from lastgood.drivers.docker.faults import explanation, mapped
from lastgood.drivers.docker.settings import DockerSettings

GONE, IN_USE = 404, 409
LOOK_EVERY = 0.01
SETTLED_WITHIN = 5.0
LEFT = ("already exists", "already in use")
"""How a start is refused when an engine died while it started that container: it may run, and the engine
never finds it again.
"""
CALLS_AT_ONCE = 4
Json = dict[str, Any]


class Engine:
    """An engine by its settings; connected at the first call. Raises what ``ports.drivers`` says."""

    def __init__(self, settings: DockerSettings) -> None:
        self.host = settings.host
        self._settings = settings

    @cached_property
    def _client(self) -> Any:
        return connect(self._settings)

    @property
    def calls_at_once(self) -> int:
        """How many may be under way: over ssh each more needs a connection of its own, which takes longer."""
        return 1 if self.host.startswith("ssh://") else CALLS_AT_ONCE

    @contextmanager
    def _call(self, call: str, *, changes: bool = True) -> Iterator[Any]:
        client = self._client
        with mapped(self.host, call, changes=changes):
            yield client

    # Containers

    def containers(self, labels: Iterable[str]) -> list[Json]:
        """All containers with these labels (``name`` or ``name=value``), running or not; none: all."""
        with self._call("GET /containers/json", changes=False) as client:
            found: list[Json] = client.containers(all=True, filters={"label": list(labels)})
        return found

    def inspect(self, name: str) -> Json | None:
        """None when there is no container of that name or id."""
        with self._call(f"GET /containers/{name}/json", changes=False) as client:
            found: Json | None = _tried((GONE,), client.inspect_container, name)[1]
        return found

    def create(self, name: str, body: Mapping[str, Any]) -> str | None:
        """The id, None when the name is taken. Raises Rejected, also when the image is not there."""
        with self._call("POST /containers/create") as client:
            made = _tried((IN_USE,), client.create_container_from_config, body, name)[1]
        return None if made is None else str(made["Id"])

    def rename(self, id: str, name: str) -> bool:
        """False when the name is taken."""
        with self._call(f"POST /containers/{id}/rename") as client:
            return _tried((IN_USE,), client.rename, id, name)[0] != IN_USE

    def start(self, id: str) -> str:
        """Why it can't start, empty when it runs; a container that is no more is ``No such container``."""
        with self._call(f"POST /containers/{id}/start") as client:
            try:
                client.start(id)
            except vendor.APIError as error:
                if error.status_code is None:
                    raise
                return explanation(error) or "refused"
        return ""

    def restart_policy(self, id: str, policy: str) -> None:
        """``always`` or ``no``; nothing for a container that is no more.

        In the moment in which a container ends, the engine can't change it, and takes the change back.
        """
        end = time.monotonic() + SETTLED_WITHIN
        with self._call(f"POST /containers/{id}/update") as client:
            while True:
                try:
                    _tried((GONE,), client.update_container, id, restart_policy={"Name": policy})
                    return
                except vendor.APIError as error:
                    if "annot update" not in explanation(error) or time.monotonic() >= end:
                        raise
                time.sleep(LOOK_EVERY)

    def unpause(self, id: str) -> None:
        with self._call(f"POST /containers/{id}/unpause") as client:
            client.unpause(id)

    def kill(self, id: str, signal: str) -> None:
        """Nothing for one that does not run."""
        with self._call(f"POST /containers/{id}/kill") as client:
            _tried((GONE, IN_USE), client.kill, id, signal)

    def stop(self, id: str) -> None:
        """At once; also ends the waiting of one that is about to be restarted."""
        with self._call(f"POST /containers/{id}/stop") as client:
            _tried((GONE,), client.stop, id, timeout=0)

    def wait(self, id: str, seconds: float) -> bool:
        """Whether it is not running within so many seconds."""
        with self._call(f"POST /containers/{id}/wait", changes=False) as client:
            try:
                _tried((GONE,), client.wait, id, timeout=max(seconds, 0.001), condition="not-running")
            except requests.exceptions.ReadTimeout:
                return False
            except requests.exceptions.ConnectionError as error:
                if "timed out" not in str(error).lower():
                    raise
                return False
        return True

    def remove(self, id: str) -> bool:
        """With its anonymous volumes; False when it runs."""
        with self._call(f"DELETE /containers/{id}") as client:
            return _tried((GONE, IN_USE), client.remove_container, id, v=True)[0] != IN_USE

    def connect_network(self, id: str, network: str) -> None:
        with self._call(f"POST /networks/{network}/connect") as client:
            client.connect_container_to_network(id, network)

    # What is in them

    def put(self, id: str, path: str, tar: bytes) -> None:
        """Unpack ``tar`` in the directory ``path`` of a container."""
        with self._call(f"PUT /containers/{id}/archive") as client:
            client.put_archive(id, path, tar)

    def get(self, id: str, path: str) -> bytes | None:
        """A tar of the file or directory at ``path``, None when there is none."""
        with self._call(f"GET /containers/{id}/archive", changes=False) as client:
            found = _tried((GONE,), client.get_archive, id, path)[1]
            return None if found is None else b"".join(found[0])

    def logs(self, id: str, lines: int, timestamps: bool = False) -> bytes:
        """The last lines, empty where the log driver keeps none that can be read."""
        with self._call(f"GET /containers/{id}/logs", changes=False) as client:
            try:
                found: bytes = client.logs(id, stdout=True, stderr=True, tail=lines, timestamps=timestamps)
            except vendor.APIError:
                return b""
        return found

    def execute(self, id: str, argv: Sequence[str], seconds: float) -> int:
        """Exit code of a command in a running container; -1 when it could not be run, or took longer."""
        end = time.monotonic() + seconds
        with self._call(f"POST /containers/{id}/exec", changes=False) as client:
            try:
                name = client.exec_create(id, list(argv), stdout=False, stderr=False)["Id"]
                client.exec_start(name, detach=True)
                while (seen := client.exec_inspect(name))["Running"] and time.monotonic() < end:
                    time.sleep(LOOK_EVERY)
            except vendor.APIError:
                return -1
        return -1 if seen["Running"] or seen["ExitCode"] is None else int(seen["ExitCode"])

    # Images

    def inspect_image(self, name: str) -> Json | None:
        with self._call(f"GET /images/{name}/json", changes=False) as client:
            found: Json | None = _tried((GONE,), client.inspect_image, name)[1]
        return found

    def load(self, tar: Any) -> str:
        """Load what ``docker save`` wrote, from bytes or a file; the engine's complaint, empty for none."""
        with self._call("POST /images/load") as client:
            return _complaint(client.load_image(tar, quiet=True))

    def pull(self, repository: str, digest: str, platform: str) -> str:
        """The engine's complaint, empty when it has it now."""
        with self._call("POST /images/create") as client:
            try:
                return _complaint(
                    client.pull(repository, digest, stream=True, decode=True, platform=platform)
                )
            except vendor.APIError as error:
                return explanation(error)

    # The engine

    def info(self) -> Json:
        with self._call("GET /info", changes=False) as client:
            found: Json = client.info()
        return found

    def usage(self, id: str) -> Json:
        """``memory_stats`` and more of a running container, empty when it ended."""
        with self._call(f"GET /containers/{id}/stats", changes=False) as client:
            found: Json | None = _tried((GONE, IN_USE), client.stats, id, stream=False, one_shot=True)[1]
        return found or {}

    def events(self, filters: Mapping[str, Any], since: float) -> list[Json]:
        """What happened since then, by the engine's clock, as far as it remembers."""
        # Were "until" later than now, the engine would wait for more.
        span = {"since": f"{since:.6f}", "until": f"{self.now():.6f}"}
        with self._call("GET /events", changes=False) as client:
            return list(client.events(**span, filters=dict(filters), decode=True))

    def disk(self, seconds: float) -> Json:
        """What images, containers and volumes take; a busy engine may need minutes to say so."""
        with self._call("GET /system/df", changes=False) as client:
            client.timeout = seconds
            try:
                found: Json = client.df()
            finally:
                client.timeout = TIMEOUT
        return found

    def now(self) -> float:
        """The engine's clock, as Unix time."""
        return time.time() if self._settings.is_local else moment(self.info()["SystemTime"])


def moment(text: str) -> float:
    """Unix time of the engine's notation, 0 for never."""
    return 0.0 if not text or text.startswith("0001-") else datetime.fromisoformat(text).timestamp()


def _tried(expected: tuple[int, ...], call: Callable[..., Any], *args: Any, **named: Any) -> tuple[int, Any]:
    """(0, the answer), or (status, None) when the engine answers with one of the ``expected`` ones."""
    try:
        return 0, call(*args, **named)
    except vendor.APIError as error:
        if error.status_code not in expected:
            raise
        return int(error.status_code), None


def _complaint(answers: Iterable[Mapping[str, Any]]) -> str:
    """The error that a stream of progress ends with, if it does."""
    return next((" ".join(str(a["error"]).split()) for a in answers if "error" in a), "")
