"""What a role sees, where it listens, what is said of it, and what never gets out."""

from __future__ import annotations

import ast
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.release import Readiness, RoleSpec
from lastgood.domain.unit import Role
from lastgood.drivers.process import artifact, logs, proc
from lastgood.testing.conformance_runs import eventually

SECRET = "correct horse/battery"


def page(address: str) -> dict[str, str]:
    host, _, port = address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.request("GET", "/")
    found: dict[str, str] = dict(ast.literal_eval(connection.getresponse().read().decode()))
    connection.close()
    return found


def web(script: str = "web", path: str = "/healthz") -> RoleSpec:
    return RoleSpec(
        Role.WEB, (sys.executable, f"{{artifact}}/{script}.py"), {"COLOUR": "blue"}, Readiness(path)
    )


def test_a_child_sees_little_and_known(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATORS_OWN", "1")
    bench.up(bench.generation("g1", web()))
    seen = bench.driver.status()[0]
    environment = page(seen.addresses[0])
    assert environment["PORT"] == seen.addresses[0].partition(":")[2]
    assert environment["COLOUR"] == "blue"
    assert environment["LASTGOOD_UNIT"] == "shop@prod/us"
    assert environment["LASTGOOD_GENERATION"] == "g1"
    assert Path(environment["LASTGOOD_ARTIFACT"], "web.py").is_file()
    assert environment["LASTGOOD_CONFIG"] == ""
    ours = {name for name in environment if not name.startswith("LASTGOOD_")}
    assert ours <= {"PATH", "HOME", "LANG", "TZ", "LC_CTYPE", "PYTHONPYCACHEPREFIX", "COLOUR", "PORT"}


def test_the_environment_of_the_first_start_stays(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = bench.generation("g1", web())
    bench.up(generation)
    before = page(bench.driver.status()[0].addresses[0])["PATH"]
    monkeypatch.setenv("PATH", "/nowhere")
    bench.driver.start(generation, [Role.WEB])
    os.kill(bench.driver.status()[0].pid, 9)
    eventually(lambda: (s := bench.driver.ready(generation, Role.WEB)).running and s.restarts == 1)
    assert page(bench.driver.status()[0].addresses[0])["PATH"] == before


def test_secrets_reach_the_child_and_nothing_else(bench: Any) -> None:
    token = bench.tools.vault.seal("TOKEN", SECRET)
    generation = bench.generation("g1", web(), secrets=(token,))
    bench.up(generation)
    assert page(bench.driver.status()[0].addresses[0])["TOKEN"] == SECRET
    shim = bench.shim("g1")
    for name in ("cmdline", "environ"):
        assert SECRET.encode() not in Path(f"/proc/{shim}/{name}").read_bytes()
    files = [p for p in bench.root.rglob("*") if p.is_file() and p.name != "web.log"]
    assert len(files) > 5
    assert not [p for p in files if SECRET.encode() in p.read_bytes()]
    assert SECRET in (bench.home("g1") / "logs" / "web.log").read_text()  # the child's own doing
    evidence = {item.name: item.content for item in bench.driver.evidence()}
    assert evidence["g1/web.log"] == b"serving with [secret TOKEN]\n"
    assert not [name for name, content in evidence.items() if SECRET.encode() in content]


def test_a_new_shim_gets_the_secrets_again(bench: Any) -> None:
    generation = bench.generation("g1", web(), secrets=(bench.tools.vault.seal("TOKEN", SECRET),))
    bench.up(generation)
    bench.kill_shim("g1")
    bench.driver.start(generation, [Role.WEB])
    os.kill(bench.driver.status()[0].pid, 9)
    eventually(lambda: (s := bench.driver.ready(generation, Role.WEB)).running and s.restarts == 1)
    assert page(bench.driver.status()[0].addresses[0])["TOKEN"] == SECRET


def test_logs_are_withheld_when_their_secrets_are_unknown(bench: Any) -> None:
    token = bench.tools.vault.seal("TOKEN", SECRET)
    bench.up(bench.generation("g1", web(), secrets=(token,)))
    bench.tools.vault._values.clear()
    evidence = {item.name: item.content for item in bench.driver.evidence()}
    assert evidence["g1/web.log"].startswith(b"withheld")


def test_last_words_are_redacted_too(bench: Any) -> None:
    token = bench.tools.vault.seal("TOKEN", SECRET)
    script = b"import os\nraise SystemExit('bad token ' + os.environ['TOKEN'])\n"
    generation = bench.generation("g1", web("it"), secrets=(token,), it=script)
    bench.driver.prepare(generation)
    bench.driver.start(generation, [Role.WEB])
    words = "exited with"
    seen = eventually(lambda: words in (s := bench.driver.ready(generation, Role.WEB)).detail and s)
    assert seen.detail.endswith("bad token [secret TOKEN]")
    assert "exited with 1 after" in seen.detail


def test_the_port_stays_over_restarts_and_shims(bench: Any) -> None:
    generation = bench.generation("g1", web())
    bench.up(generation)
    address = bench.driver.status()[0].addresses[0]
    for _ in range(2):
        before = bench.driver.status()[0].pid
        os.kill(before, 9)
        eventually(lambda b=before: (s := bench.driver.ready(generation, Role.WEB)).running and s.pid != b)
        assert bench.driver.status()[0].addresses[0] == address
        bench.kill_shim("g1")
        bench.driver.start(generation, [Role.WEB])


def test_a_port_that_was_taken_meanwhile_is_given_up(bench: Any) -> None:
    generation = bench.generation("g1", web())
    bench.up(generation)
    address = bench.driver.status()[0].addresses[0]
    bench.driver.stop("g1", [Role.WEB])
    with socket.create_server(("127.0.0.1", int(address.partition(":")[2]))):
        bench.driver.start(generation, [Role.WEB])
        eventually(lambda: bench.driver.ready(generation, Role.WEB).running)
        assert bench.driver.status()[0].addresses[0] != address


def test_ports_come_from_the_range_and_run_out_plainly(bench: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bench.settings["ports"] = [port, port]
        generation = bench.generation("g1", web())
        bench.driver.prepare(generation)
        bench.driver.start(generation, [Role.WEB])
        assert "no free port" in bench.driver.ready(generation, Role.WEB).detail
    eventually(lambda: bench.driver.ready(generation, Role.WEB).running)
    assert bench.driver.status()[0].addresses[0] == f"127.0.0.1:{port}"


def test_two_generations_never_share_a_port_of_the_range(bench: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        low = free.getsockname()[1]
    bench.settings["ports"] = [low, min(low + 5, 65535)]
    generations = [bench.generation(f"g{n}", web()) for n in range(3)]
    starts = []
    for generation in generations:
        bench.driver.prepare(generation)
        starts.append(threading.Thread(target=bench.driver.start, args=(generation, [Role.WEB])))
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    eventually(lambda: all(bench.driver.ready(g, Role.WEB).running for g in generations))
    assert len({s.addresses[0] for s in bench.driver.status()}) == 3
    assert all(s.restarts == 0 for s in bench.driver.status())


def test_another_process_on_the_port_does_not_pass_for_ready(bench: Any) -> None:
    script = b"import time\ntime.sleep(1000)\n"
    generation = bench.generation("g1", web("it"), it=script)
    bench.driver.prepare(generation)
    bench.driver.start(generation, [Role.WEB])
    seen = eventually(lambda: (s := bench.driver.status()[0]).running and s)
    assert "does not listen" in bench.driver.ready(generation, Role.WEB).detail
    with socket.create_server(("127.0.0.1", int(seen.addresses[0].partition(":")[2]))):
        assert "does not listen" in bench.driver.ready(generation, Role.WEB).detail


def test_a_probe_that_is_refused_says_what_it_answered(bench: Any) -> None:
    generation = bench.generation("g1", web(path="/broken"))
    bench.driver.prepare(generation)
    bench.driver.start(generation, [Role.WEB])
    eventually(lambda: "answered 503" in bench.driver.ready(generation, Role.WEB).detail)
    assert bench.driver.ready(generation, Role.WEB).pid


def test_a_command_that_does_not_exist_is_named(bench: Any) -> None:
    generation = bench.generation("g1", RoleSpec(Role.WORKER, ("no-such-command",)))
    bench.driver.prepare(generation)
    bench.driver.start(generation, [Role.WORKER])
    words = "exited with 127"
    detail = eventually(lambda: words in (d := bench.driver.ready(generation, Role.WORKER).detail) and d)
    assert "No such file" in detail
    assert "no-such-command" in detail


def test_the_artifact_is_read_only_and_stays_as_it_was(bench: Any) -> None:
    script = b"import helper, time\ntime.sleep(1000)\n"
    generation = bench.generation(
        "g1", RoleSpec(Role.WORKER, (sys.executable, "it.py")), it=script, helper=b""
    )
    bench.up(generation)
    place = artifact.place_of(bench.root / "artifacts", generation.artifact)
    assert artifact.is_whole(place, generation.artifact)
    assert {oct(p.stat().st_mode & 0o222) for p in place.rglob("*")} == {"0o0"}


@pytest.mark.parametrize("damage", ["changed", "gone", "extra", "half"])
def test_a_damaged_artifact_is_replaced_and_kept(bench: Any, damage: str) -> None:
    generation = bench.generation("g1", web())
    store = bench.root / "artifacts"
    place = artifact.place_of(store, generation.artifact)
    if damage == "half":
        (store / f".half-{place.name}").mkdir(parents=True)
        (store / f".half-{place.name}" / "web.py").write_bytes(b"half a fi")
    else:
        bench.driver.prepare(generation)
        place.chmod(0o755)
        (place / "web.py").chmod(0o644)
        {
            "changed": lambda: (place / "web.py").write_bytes(b"edited"),
            "gone": lambda: (place / "web.py").unlink(),
            "extra": lambda: (place / "os.py").write_bytes(b"shadow"),
        }[damage]()
    bench.driver.prepare(generation)
    assert artifact.is_whole(place, generation.artifact)
    assert not [p for p in store.iterdir() if p.name.startswith(".half")]
    assert (store / "aside").is_dir() == (damage != "half")


def test_logs_are_turned_over_under_their_writer(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(8):
            writer.write(b"%d" % number * 1000)
            assert logs.rotate(str(log), limit=1000)
        writer.write(b"last")
    assert log.read_bytes() == b"last"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["web.log", *(f"web.log.{n}" for n in range(1, 6))]
    assert (tmp_path / "web.log.1").read_bytes() == b"7" * 1000
    assert logs.tail(str(log), 10) == b"777777last"


def test_it_runs_on_when_its_starter_is_gone(bench: Any) -> None:
    import pickle

    generation = bench.generation("g1", web())
    bench.driver.prepare(generation)
    code = (
        "import pickle, sys\n"
        "from lastgood.drivers.process.driver import create\n"
        "s, t, g = pickle.loads(sys.stdin.buffer.read())\n"
        "create(g.unit, s, t).start(g, [r.role for r in g.roles])\n"
    )
    told = pickle.dumps((bench.settings, bench.tools, generation))
    subprocess.run([sys.executable, "-c", code], input=told, check=True, start_new_session=True)
    eventually(lambda: bench.driver.ready(generation, Role.WEB).running)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that every user may enter; pytest's own belong to its user alone."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    for path in (made, *made.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(made)


def test_another_user_needs_root_and_is_then_really_another(bench: Any, open_directory: Path) -> None:
    bench.root = open_directory / "run"
    bench.settings = {"root": str(bench.root), "user": "nobody"}
    script = b"import time\nprint('begun', flush=True)\ntime.sleep(1000)\n"
    spec = RoleSpec(Role.WORKER, ("/usr/bin/python3", "{artifact}/it.py"))
    generation = bench.generation("g1", spec, it=script)
    bench.driver.prepare(generation)
    if os.geteuid() != 0:
        with pytest.raises(Rejected) as refused:
            bench.driver.start(generation, [Role.WORKER])
        assert refused.value.cause is Cause.PERMISSION
        return
    bench.driver.start(generation, [Role.WORKER])
    eventually(lambda: bench.driver.ready(generation, Role.WORKER).running)
    assert Path(f"/proc/{bench.driver.status()[0].pid}").stat().st_uid == 65534
    bench.driver.stop("g1", [Role.WORKER])
    bench.end()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "root"),
        ({"root": "relative"}, "root"),
        ({"root": "/r", "ports": [10]}, "ports"),
        ({"root": "/r", "ports": [20, 10]}, "ports"),
        ({"root": "/r", "ports": [True, 10]}, "ports"),
        ({"root": "/r", "host": "example.com"}, "host"),
        ({"root": "/r", "user": "no such user"}, "user"),
        ({"root": "/r", "colour": 1}, "colour"),
    ],
)
def test_a_wrong_setting_is_named(bench: Any, settings: dict[str, object], named: str) -> None:
    bench.settings = settings
    with pytest.raises(InvalidInput, match=f"'{named}'"):
        _ = bench.driver


def test_a_missing_parent_is_a_wrong_path(bench: Any, tmp_path: Path) -> None:
    bench.settings = {"root": str(tmp_path / "no" / "such")}
    with pytest.raises(Rejected) as refused:
        bench.driver.prepare(bench.generation("g1"))
    assert refused.value.cause is Cause.WRONG_PATH


def test_start_times_tell_processes_apart() -> None:
    me = os.getpid()
    ticks = proc.start_ticks(me)
    assert proc.is_running(me, ticks)
    assert not proc.is_running(me, ticks + 1)
    assert not proc.is_running(0, 0)
    dead = subprocess.Popen(["true"])
    eventually(lambda: proc.start_ticks(dead.pid) == 0)  # a zombie does not run
    dead.wait()
