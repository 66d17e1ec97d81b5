"""Has containers as they are wanted, running or not. Each call converges, wherever the last one was cut off.

A container gets its name last: what bears the name of an instance is complete. It never starts by itself
before ``start`` nor after ``stop``, whatever happens to the engine meanwhile.
"""

from __future__ import annotations

import contextlib
import secrets as chance
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lastgood.domain.errors import DriverError, NeverReady, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.domain.unit import Role, UnitId
from lastgood.drivers.docker import compare, labels
from lastgood.drivers.docker.content import Owner, config_tar, files_in, owner_from, secrets_tar
from lastgood.drivers.docker.engine import LEFT, Engine
from lastgood.drivers.docker.images import Images, foreign
from lastgood.drivers.docker.instance import Instance, inspected, listed
from lastgood.drivers.docker.ports import PortChoice, is_taken
from lastgood.drivers.docker.wanted import Wanted
from lastgood.ports.content import DriverTools

TRIES = 6
LEFTOVER = 600.0
"""Seconds after which a container that never got its name is one that nobody is making any more."""
FORCE_TIME = 10.0
"""Seconds that the end by force may take after the grace."""
ROUNDS = 3
OWN_FAULT = "unable to start container process: exec:"
"""What engines say when there is no such command in the image, or it can't be executed."""


class Containers:
    """The containers of one unit."""

    def __init__(
        self, unit: UnitId, engine: Engine, images: Images, ports: PortChoice, tools: DriverTools
    ) -> None:
        self._unit = unit
        self._engine = engine
        self._images = images
        self._ports = ports
        self._tools = tools

    def all(self) -> list[Instance]:
        """Every container of this unit but the holders of images, also half-made ones and those set aside."""
        found = self._engine.containers(labels.of_unit(self._unit))
        known = [listed(entry) for entry in found if labels.HOLDS not in (entry["Labels"] or {})]
        return [i for i in known if i.labels.get(labels.ROLE) in {role.value for role in Role}]

    def in_place(self) -> list[Instance]:
        return [i for i in self.all() if i.is_in_place(self._unit)]

    def look(self, name: str) -> Instance | None:
        """Raises Rejected when somebody else has the name."""
        found = self._engine.inspect(name)
        if found is None:
            return None
        seen = inspected(found)
        if seen.labels.get(labels.UNIT) != str(self._unit) or not seen.is_in_place(self._unit):
            raise foreign(self._engine.host, name)
        return seen

    # Start

    def have(self, wanted: Sequence[Wanted]) -> None:
        """All of them there first, then running: what can't be made is known before anything runs. Instances
        of ``web`` are started at once, for an engine takes its time with each.
        """
        self._sweep()
        there = [(one, self._get(one)) for one in wanted]
        with ThreadPoolExecutor(self._engine.calls_at_once) as pool:
            for _ in pool.map(lambda pair: self._have_running(*pair), (p for p in there if _is_web(p[0]))):
                pass
        for one, seen in there:
            if not _is_web(one):
                self._have_running(one, seen)

    def _have_running(self, wanted: Wanted, seen: Instance) -> None:
        for _ in range(TRIES):
            self._engine.restart_policy(seen.id, "always")
            if seen.state == "paused":
                self._engine.unpause(seen.id)
            if seen.is_active:
                return
            refused = self._engine.start(seen.id)
            if not refused:
                return
            self._engine.restart_policy(seen.id, "no")
            left = any(words in refused for words in LEFT)
            if left and not _is_web(wanted):
                raise _runs_unseen(self._engine.host, wanted, seen.id)
            if is_taken(refused) or left:
                self._put_aside(seen)
            elif self._engine.inspect(seen.id) is not None:  # else another driver is at it
                raise _cant_start(self._engine.host, wanted, refused)
            seen = self._get(wanted)
        raise _cant_start(self._engine.host, wanted, "others took every port it tried")

    def _get(self, wanted: Wanted) -> Instance:
        """The container as it is wanted; one that was made from something else or changed is put aside."""
        seen = self.look(wanted.name)
        if seen is not None and self._differs(wanted, seen):
            self._put_aside(seen)
            seen = None
        return seen or self._make(wanted)

    def _differs(self, wanted: Wanted, seen: Instance) -> bool:
        """Files are read of one that runs only: it takes time, and one that is stopped nobody edits."""
        if seen.spec != wanted.digest:
            return True
        secrets = compare.values_of(wanted.generation.secrets, self._tools.vault)
        return any(
            True
            for found in (
                compare.other_content(wanted, seen, secrets),
                compare.other_limits(wanted, seen, self._engine.info),
                compare.other_networks(wanted, seen),
                compare.other_files(wanted, seen, self._engine) if seen.is_active else (),
            )
            for _ in found
        )

    def _make(self, wanted: Wanted) -> Instance:
        image = self._images.find(wanted.image)
        if not image:
            raise Rejected(
                N_("image {image} is not in the docker engine"),
                todo=N_("Prepare the generation: that loads it from the archive or the registry."),
                where=self._engine.host,
                image=str(wanted.image),
            )
        values = {s.name: self._tools.vault.unseal(s) for s in wanted.generation.secrets}
        port = str(self._ports.choose(wanted)) if wanted.listens else ""
        id = self._engine.create(f"{wanted.name}.{chance.token_hex(4)}", wanted.body(image, port, values))
        assert id is not None, "nobody else has drawn the same number"
        try:
            self._fill(id, wanted, values)
            for network in wanted.options.networks:
                self._engine.connect_network(id, network)
            named = self._engine.rename(id, wanted.name)
        except DriverError:
            self._forget(id)
            raise
        if not named:  # another driver was faster
            self._forget(id)
        seen = self.look(wanted.name)
        if seen is None or seen.spec != wanted.digest:
            raise OutcomeUnknown(
                N_("container {name} was changed while it was made"),
                todo=N_("See who else works on it, then run it again."),
                where=self._engine.host,
                name=wanted.name,
            )
        return seen

    def _fill(self, id: str, wanted: Wanted, values: dict[str, str]) -> None:
        for place, what in wanted.filled():
            # Into a volume it goes by its own path; a directory that the image has not is made on the way.
            path, below = (place, "") if wanted.options.read_only else ("/", place.lstrip("/"))
            if what == "files":
                tar = config_tar(wanted.generation.files, self._tools.objects, below)
            else:
                tar = secrets_tar(values, self._owner(id, wanted), below)
            self._engine.put(id, path, tar)

    def _owner(self, id: str, wanted: Wanted) -> Owner:
        """Whom the role runs as."""
        found = self._engine.inspect(id)
        user = str(found["Config"]["User"]) if found else ""
        named = bool(user) and not user.partition(":")[0].isdigit()
        passwd = self._engine.get(id, "/etc/passwd") if named else None
        owner = owner_from(next(iter(files_in(passwd).values()))[0] if passwd else b"", user)
        if owner is None:
            raise Rejected(
                N_("image {image} does not say which number its user {user} has"),
                todo=N_("Name the user by number in the role's option 'user'."),
                where=self._engine.host,
                image=str(wanted.image),
                user=user,
            )
        return owner

    def _forget(self, id: str) -> None:
        """A container that never got its name; one that stays is swept later."""
        with contextlib.suppress(DriverError):
            self._engine.remove(id)

    def _put_aside(self, seen: Instance) -> None:
        """Out of the way with its logs; one that never ran has none."""
        self._end([seen])
        if seen.started:
            self._engine.rename(seen.id, f"{seen.name}.aside.{seen.id[:12]}")
        else:
            self._engine.remove(seen.id)

    def _sweep(self) -> None:
        for seen in self.all():
            half_made = seen.state == "created" and not seen.is_in_place(self._unit)
            if half_made and self._engine.now() - seen.created > LEFTOVER:
                self._forget(seen.id)

    # Stop

    def end(self, generation: str, roles: Iterable[Role]) -> None:
        """Politely, then by force; raises OutcomeUnknown when one stays."""
        chosen = set(roles)
        for _ in range(ROUNDS):  # again for one that was being restarted while we looked
            mine = [i for i in self.all() if i.generation == generation and i.role in chosen]
            self._end(mine)
            left = [i for i in self.all() if i.id in {m.id for m in mine} and i.is_active]
            if not left:
                return
        raise OutcomeUnknown(
            N_("{names} did not end"),
            todo=N_("See what the engine says of them: docker inspect, and its own log."),
            where=self._engine.host,
            names=", ".join(i.name for i in left),
        )

    def _end(self, instances: Sequence[Instance]) -> None:
        """Take back first that they are started again: no crash of the engine may bring one back."""
        for one in instances:
            self._engine.restart_policy(one.id, "no")
        running = []
        for one in [i for i in instances if i.is_active]:
            found = self._engine.inspect(one.id)
            if one.state == "restarting" or found is None:
                self._engine.stop(one.id)
            else:
                self._engine.kill(one.id, found["Config"].get("StopSignal") or "SIGTERM")
                running.append(one)
        begun = time.monotonic()
        for one in running:
            if not self._engine.wait(one.id, begun + one.grace - time.monotonic()):
                self._engine.kill(one.id, "SIGKILL")
                self._engine.wait(one.id, FORCE_TIME)

    def remove(self, generation: str) -> None:
        """Raises Rejected when one of them runs."""
        mine = [i for i in self.all() if i.generation == generation]
        running = [i.name for i in mine if i.is_active]
        running += [i.name for i in mine if not running and not self._engine.remove(i.id)]
        if running:
            raise Rejected(
                N_("{names} of generation {generation} still runs"),
                todo=N_("Stop the generation before it is removed."),
                where=self._engine.host,
                names=", ".join(running),
                generation=generation,
            )


def _is_web(wanted: Wanted) -> bool:
    return wanted.role is Role.WEB


def _runs_unseen(host: str, wanted: Wanted, id: str) -> Rejected:
    """Another ``web`` beside it does no harm, nobody is sent to the lost one; a worker would run twice."""
    return Rejected(
        N_(
            "{role} of {generation} may run already, unseen by the engine, which died while it started it: a "
            "second one is not started beside it"
        ),
        todo=N_(
            "On the engine's machine: ctr -n moby task kill -s SIGKILL {id}; ctr -n moby task rm {id}; "
            "ctr -n moby container rm {id}. Then try again."
        ),
        where=host,
        role=wanted.role.value,
        generation=wanted.generation.id,
        id=id,
    )


def _cant_start(host: str, wanted: Wanted, reason: str) -> Rejected:
    """A command that can't be run is the release's own fault; a network that is not there is not."""
    kind = NeverReady if OWN_FAULT in reason else Rejected
    return kind(
        N_("{role} of {generation} can't be started: {reason}"),
        todo=N_("Mend the image, its command or the role's options, then deploy again."),
        where=host,
        role=wanted.role.value,
        generation=wanted.generation.id,
        reason=reason,
    )
