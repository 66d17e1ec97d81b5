"""Starts one child so that it can never run unrecorded, and finds it a port. Light: the shim imports it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from lastgood.drivers.process import layout, proc

Spec = dict[str, Any]


def start(
    directory: str, spec: Spec, role: str, port: int, secrets: dict[str, str],
    record: Callable[[int, int], None], closing: list[int],
) -> int:  # fmt: skip
    """Fork, ``record(pid, start time)`` durably, and only then let the child run its command.

    When this process dies or ``record`` raises before the go, the child ends without having done
    anything: that is why a worker can't run twice. ``closing`` are descriptors it must not hold.
    """
    gate, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(directory, spec, role, port, secrets, gate, [go, *closing])
    os.close(gate)
    try:
        record(pid, proc.start_ticks(pid))
        os.write(go, b"g")
    except BrokenPipeError:
        pass  # it ended before the go; its end is noticed like any other
    except OSError:
        os.close(go)
        os.waitpid(pid, 0)
        raise
    os.close(go)
    return pid


def _child(
    directory: str, spec: Spec, role: str, port: int, secrets: dict[str, str], gate: int, closing: list[int]
) -> NoReturn:
    try:
        for descriptor in closing:
            os.close(descriptor)
        os.setsid()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(
            layout.path(directory, "logs", f"{role}.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640
        )
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.umask(0o022)
        user = spec.get("user")
        if user:
            os.setgroups(user["groups"])
            os.setgid(user["gid"])
            os.setuid(user["uid"])
        if os.read(gate, 1) != b"g":
            os._exit(0)
        _execute(directory, spec, role, port, secrets)
    except (OSError, ValueError, KeyError) as error:
        os.write(2, f"lastgood: can't run {role}: {error}\n".encode())
    finally:
        os._exit(127)  # a forked child must never return into the shim's loop


def _execute(directory: str, spec: Spec, role: str, port: int, secrets: dict[str, str]) -> None:
    how = spec["roles"][role]
    name, _, value = layout.marker(directory, role).partition("=")
    environment = {**spec["environment"], **how["environment"], "LASTGOOD_ROLE": role, **secrets, name: value}
    if port:
        environment["PORT"] = str(port)
    command = [part.replace("{port}", str(port)) for part in how["command"]]
    os.chdir(spec["working_directory"])
    os.execvpe(command[0], command, environment)


def claim_port(spec: Spec, before: int) -> tuple[int, int]:
    """(port, descriptor of its claim): ``before`` again when it is still free, else another.

    The claim is a kernel lock, so that two generations never choose the same port in the moment
    between choosing and listening. Raises OSError when no port is free.
    """
    for port in _candidates(spec, before):
        claim = layout.lock(layout.path(spec["ports_directory"], str(port)), wait=False)
        if claim >= 0:
            if _is_free(spec["host"], port):
                return port, claim
            os.close(claim)
    raise OSError(f"no free port in {spec['ports'] or 'the range of the kernel'}")


def _candidates(spec: Spec, before: int) -> Iterator[int]:
    if before:
        yield before
    if spec["ports"]:
        low, high = spec["ports"]
        yield from range(low, high + 1)
        return
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind((spec["host"], 0))
            port: int = probe.getsockname()[1]
        yield port


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
