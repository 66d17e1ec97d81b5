"""A generation is started by hand with the docker command alone, and lastgood knows it again afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.unit import Role
from lastgood.drivers.docker.commandline import arguments, create_options
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.look import probe
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.drivers.docker.wanted import wanted
from lastgood.ports.bundles import BundlePart
from lastgood.ports.drivers import Generation
from lastgood.testing.conformance_runs import BOTH, eventually

TRICKY = 'line one\nline two\'s "$HOME" \\ end\n'
SECRETS = {"TOKEN": TRICKY, "KEY": "hunter2"}


@pytest.fixture
def place(bench: Any, tmp_path: Path) -> Path:
    made = tmp_path / "bundle"
    (made / "secrets").mkdir(parents=True)
    for name, value in SECRETS.items():
        (made / "secrets" / name).write_text(value)
    return made


def generation(bench: Any, id: str = "g1", **more: Any) -> Generation:
    files = bench.files(app_yaml=b"colour: blue\n", nested__blob=bytes(range(256)))
    secrets = tuple(bench.secret(name, value) for name, value in SECRETS.items())
    kept = {"image": bench.image("bundled", labels={"unit": str(bench.unit)}), **more}
    made: Generation = bench.generation(id, files=files, secrets=secrets, **kept)
    return replace(made, roles=tuple(replace(spec, stop_grace=1.0) for spec in made.roles))


def written(bench: Any, of: Generation, place: Path) -> BundlePart:
    """The part on disk, as the action writes it; then all that lastgood keeps is lost."""
    part: BundlePart = bench.driver.bundle_start(of, "image.tar")
    assert of.image is not None
    with (place / "image.tar").open("wb") as file:
        bench.tools.images.export(of.image, file)
    for path, content in part.files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    shutil.rmtree(bench.tools.directory / "images")
    return part


def run(bench: Any, part: BundlePart, place: Path) -> list[str]:
    """The addresses that the traffic goes to."""
    text = "\n".join(["set -eu", "umask 077", *part.lines, 'echo "ADDRESSES $ADDRESSES"'])
    done = subprocess.run(
        ["sh", "-c", text],
        cwd=place,
        env={name: value for name, value in bench.engine.environment.items() if name != "DOCKER_HOST"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def is_as_released(bench: Any, of: Generation) -> None:
    """To our own eyes."""
    for role in BOTH:
        eventually(lambda role=role: bench.driver.ready(of, role).running)
    assert bench.driver.drift(of) == ()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "network": "host",
            "cpus": 0.5,
            "memory": "64m",
            "log": {"driver": "local", "options": {"max-size": "1m"}},
        },
        {"secrets": "files", "user": "clerk", "tmpfs": ["/scratch:size=1m"], "entrypoint": ["/bin/sh"]},
        {
            "secrets": "files",
            "read_only": True,
            "ulimits": {"nofile": 512},
            "extra_hosts": ["db.test:192.0.2.7"],
        },
    ],
    ids=["plain", "host network", "secret files", "read-only"],
)
def test_from_nothing_it_is_what_it_was(bench: Any, place: Path, settings: dict[str, Any]) -> None:
    bench.settings |= settings
    wanted_one = generation(bench)
    part = written(bench, wanted_one, place)
    assert all(value not in "\n".join(part.lines) for value in ("hunter2", "line one"))
    addresses = run(bench, part, place)
    is_as_released(bench, wanted_one)
    assert tuple(addresses) == bench.of("g1", Role.WEB).addresses
    host, _, port = addresses[0].rpartition(":")
    assert probe(host, int(port), "/healthz") == ""
    assert run(bench, part, place) == addresses, "again changes nothing"
    is_as_released(bench, wanted_one)
    env = bench.inspect(bench.name("g1", Role.WORKER))["Config"]["Env"]
    assert (f"TOKEN={TRICKY}" in env) == (bench.settings.get("secrets") != "files")


def test_workers_of_others_stop_and_what_is_there_is_started(bench: Any, place: Path) -> None:
    bench.settings |= {"network": "host", "stop_signal": "SIGKILL"}
    old = generation(bench)
    bench.up(old)
    before = bench.instance("g1", Role.WEB)
    bench.driver.stop("g1", BOTH)
    new = generation(bench, "g2", image=old.image)
    bench.up(new)
    part = written(bench, old, place)
    run(bench, part, place)
    assert bench.instance("g1", Role.WEB).id == before.id
    assert bench.of("g1", Role.WORKER).running
    assert bench.of("g2", Role.WORKER).pid == 0
    assert bench.of("g2", Role.WEB).running, "web is in nobody's way"
    assert bench.inspect(bench.name("g2", Role.WORKER))["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_one_that_was_made_from_something_else_is_put_aside(bench: Any, place: Path) -> None:
    bench.settings |= {"network": "host", "stop_signal": "SIGKILL"}
    wanted_one = generation(bench)
    bench.settings["pids"] = 64
    bench.up(wanted_one)
    other = bench.instance("g1", Role.WEB)
    del bench.settings["pids"]
    run(bench, written(bench, wanted_one, place), place)
    is_as_released(bench, wanted_one)
    assert bench.inspect(other.id)["State"]["Status"] == "exited"
    assert bench.instance("g1", Role.WEB).id != other.id


def test_what_a_files_driver_placed_goes_along(bench: Any, place: Path, tmp_path: Path) -> None:
    placed = tmp_path / "placed"
    (placed / "nested").mkdir(parents=True)
    (placed / "app.yaml").write_text("colour: blue\n")
    (placed / "nested" / "run").write_text("#!/bin/sh\n")
    (placed / "nested" / "run").chmod(0o755)
    bench.settings |= {"network": "host", "stop_signal": "SIGKILL"}
    wanted_one = replace(generation(bench), files=(), config=placed)
    part = written(bench, wanted_one, place)
    shutil.rmtree(placed)
    assert part.files["config/app.yaml"] == b"colour: blue\n"
    run(bench, part, place)
    name = bench.name("g1", Role.WEB)
    assert bench.engine.docker("exec", name, "/bin/cat", "/etc/lastgood/app.yaml") == "colour: blue"
    assert bench.engine.docker("exec", name, "/bin/stat", "-c", "%a", "/etc/lastgood/nested/run") == "755"
    assert "LASTGOOD_CONFIG=/etc/lastgood" in bench.inspect(name)["Config"]["Env"]


def test_a_port_that_is_taken_is_no_end(bench: Any, place: Path) -> None:
    """With two to choose from, of which one is taken."""
    bench.settings |= {"ports": [21610, 21611], "stop_signal": "SIGKILL"}
    wanted_one = generation(bench)
    part = written(bench, wanted_one, place)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 21610))
        taken.listen()
        assert run(bench, part, place) == ["127.0.0.1:21611"]


def test_every_option_has_its_word_on_the_command_line(bench: Any) -> None:
    """What the API is told and what the command would tell it are the same, option by option."""
    web = {
        "port": 9000, "memory": "64m", "memory_reservation": "32m", "cpus": 0.5, "pids": 50,
        "volumes": ["shop-data:/data", "/tmp:/ho,st:ro"], "tmpfs": ["/scratch:size=1m", "/run2"],
        "extra_hosts": ["db.test:192.0.2.7"], "ulimits": {"nofile": {"soft": 512, "hard": 1024}},
        "log": {"driver": "json-file", "options": {"max-size": "1m"}}, "cap_drop": ["CAP_NET_RAW"],
        "cap_add": ["CAP_SYS_TIME"], "security_opt": ["no-new-privileges"], "shm_size": "8m", "init": True,
        "working_dir": "/www", "user": "clerk", "stop_signal": "SIGINT", "read_only": True,
        "entrypoint": ["/bin/env", "A=b c"],
    }  # fmt: skip
    bench.settings |= {"roles": {"web": web}}
    bench.driver.prepare(generation(bench))
    settings = DockerSettings.parse(bench.settings, "test")
    (one,) = wanted(generation(bench), Role.WEB, settings)
    body = one.body(one.image.config, "21700", {})
    command = [*create_options(body), one.image.config, *arguments(body)]
    try:
        by_api = Engine(settings).create(f"{one.name}.api", body)
        by_command = bench.engine.docker("create", "--name", f"{one.name}.command", *command)
        api, shell = bench.inspect(by_api), bench.inspect(by_command)
    finally:
        bench.end()
        bench.engine.docker("volume", "rm", "--force", "shop-data")
    assert said(shell["Config"]) == said(api["Config"])
    assert said(shell["HostConfig"]) == said(api["HostConfig"])


def said(told: dict[str, Any]) -> dict[str, Any]:
    """What was asked for: without what is as good as unsaid, or is about the terminal of who asked."""
    unsaid = (None, [], {}, 0, "", False, -1)
    terminal = ("Hostname", "AttachStdout", "AttachStderr", "ConsoleSize")
    made = {key: value for key, value in told.items() if value not in unsaid and key not in terminal}
    if "Entrypoint" in made:  # the command takes one word for it, and the rest as arguments
        made["Cmd"] = [*made.pop("Entrypoint"), *made["Cmd"]]
    return made | ({"Env": sorted(made["Env"])} if "Env" in made else {})
