"""Whole ways through the command line, on real processes behind a real proxy."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import suppress
from typing import Any

from tests.cli.conftest import Cli
from tests.journey.conftest import wait_for
from tests.journey.world import World

UNIT = "page@dev/us"
CHANGE = ("--reason", "test", "--owner", "team", "--impact", "nobody")


def test_deploy_breaks_and_comes_back(world: World, cli: Cli) -> None:
    lines = [
        json.loads(line)
        for line in cli("deploy", UNIT, *CHANGE, "--yes", "--json", "--wait", "guard").stdout.splitlines()
    ]
    assert (lines[0]["event"], lines[-1]["event"]) == ("accepted", "end")
    assert (lines[-1]["exit_code"], lines[-1]["rollout"]["state"]) == (0, "verified")
    marks = [(e["step"], e["mark"]) for line in lines for e in line.get("entries", ())]
    assert marks.index(("watch", "intent")) < marks.index(("watch", "done")) < marks.index(("guard", "done"))
    _the_broken_one(world, cli)
    _what_is_known_afterwards(cli)
    _drift_and_back(world, cli)
    _a_broken_record(world, cli)


def _the_broken_one(world: World, cli: Cli) -> None:
    world.commit("bad", text="bad", broken=True)
    shown = cli.data("plan", UNIT)
    other = cli("deploy", UNIT, *CHANGE, "--plan", "0123456789ab", code=4)
    assert "not what would run now" in other.stderr
    done = cli("deploy", UNIT, *CHANGE, "--plan", shown["digest"], code=5)
    for said in (
        "page is broken",
        "goes back to",
        "traffic back after",
        "back, verified",
        "lastgood show r-",
    ):
        assert said in done.stdout, done.stdout
    assert all(line[2] == ":" == line[5] for line in done.stdout.splitlines()), "each line has its time"


def _what_is_known_afterwards(cli: Cli) -> None:
    status = cli("status", COLUMNS="80")
    assert "back, verified" in status.stdout
    assert "unfreeze page@dev/us" in " ".join(status.stdout.split())
    assert max(map(len, status.stdout.splitlines())) <= 80
    (unit,) = cli.data("status")["units"]
    assert unit["rollout"]["state"] == "verified"
    assert "baseline" in cli("status", UNIT).stdout
    history = cli.data("history", UNIT)
    assert [r["state"] for r in history["rollouts"]] == ["verified", "returned", "verified"]
    failed = history["rollouts"][1]["id"]
    page = cli("show", failed, COLUMNS="80").stdout
    for said in ("taken back", "success rate over time", "evidence:", "0/", "━"):
        assert said in page, page
    assert cli.data("show", failed)["related"][0]["id"] == f"{failed}-back"
    assert cli("show", failed, "--follow", code=5).stdout.count("traffic back after") == 1
    _set_aside_and_lifted(cli, failed)
    assert "frozen" in cli("deploy", UNIT, *CHANGE, "--yes", code=4).stderr
    assert cli.data("unfreeze", UNIT, "--reason", "seen")["lifted"] == 1


def _set_aside_and_lifted(cli: Cli, failed: str) -> None:
    """The release that failed and its commit; its artifact served well before."""
    incident = f"in-{failed}"
    assert f"lastgood quarantine lift {incident}" in cli("deploy", UNIT, *CHANGE, "--yes", code=4).stderr
    assert cli("show", failed).stdout.count("set aside: ") == 2
    table = " ".join(cli("quarantine", "list", COLUMNS="80").stdout.split())
    assert table.count(incident) == 2, table
    assert {e["kind"] for e in cli.data("quarantine", "list")} == {"release", "commit"}
    cli("quarantine", "lift", incident, code=2)
    lifted = cli.data("quarantine", "lift", incident, "--reason", "a wrong address")
    assert [e["lifted_reason"] for e in lifted] == ["a wrong address"] * 2
    assert "nothing is set aside" in cli("quarantine", "list").stdout
    by_hand = cli.data("quarantine", "add", "commit", "HEAD", "--service", "page", "--reason", "slow")
    assert by_hand["name"] in cli("quarantine", "lift", by_hand["name"][:8], "--reason", "fast").stdout
    assert "lifted by" in cli("quarantine", "list", "--all").stdout


def _drift_and_back(world: World, cli: Cli) -> None:
    assert cli.data("drift", UNIT)["drift"] == []
    (placed,) = (world.root / "files").rglob("current")
    (placed / "app.toml").chmod(0o644)
    (placed / "app.toml").write_text("edited")
    assert "app.toml" in cli("drift", UNIT, code=4).stdout
    assert "nothing differs any more" in cli("heal", UNIT).stdout
    assert cli.data("drift", UNIT)["drift"] == []


def _a_broken_record(world: World, cli: Cli) -> None:
    assert cli("audit", "verify").stdout.startswith("OK: ")
    assert {"deploy", "rollback", "unfreeze"} <= {
        r["verb"] for r in cli.data("audit", "list", "--unit", UNIT)
    }
    (path,) = (p for p in world.places.state.glob("*.db") if "durable" not in p.name)
    with sqlite3.connect(path) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE audit SET reason = 'another' WHERE sequence = 2")
    assert "BROKEN at record 2" in cli("audit", "verify", code=1).stdout
    assert cli.data("audit", "verify", code=1)["first_broken"]["sequence"] == 2


class Terminal:
    """A command on a terminal of its own, read until it ends."""

    def __init__(self, cli: Cli, *words: str) -> None:
        self._master, slave = pty.openpty()
        environment = {**cli.environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
        self.process = subprocess.Popen(
            cli.command(*words), cwd=cli.directory, env=environment, start_new_session=True,
            stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self._master, False)
        self.seen = ""

    def read(self) -> str:
        with suppress(OSError):  # nothing to read yet, or the other end is gone
            raw = os.read(self._master, 65536).decode(errors="replace")
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)
        return self.seen

    def shows(self, text: str) -> None:
        wait_for(lambda: text in self.read(), 40.0)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()
        os.close(self._master)
        return self.process.wait(timeout=1)


def _open(cli: Cli) -> dict[str, Any]:
    (unit,) = cli.data("status")["units"]
    rollout: dict[str, Any] = unit["rollout"]
    return rollout


def test_ctrl_c_stops_watching_and_never_the_rollout(world: World, cli: Cli) -> None:
    world.watch, world.guard = "4s", "120s"
    world.commit("slow", text="slow")
    refused = Terminal(cli, "deploy", UNIT, *CHANGE)
    refused.shows("Deploy this?")
    refused.type("n\n")
    assert refused.end() == 1
    assert cli.data("history")["rollouts"] == []

    deploy = Terminal(cli, "deploy", UNIT, *CHANGE, "--yes")
    deploy.shows("✓ Check that nothing was changed by hand")
    deploy.process.send_signal(signal.SIGINT)
    assert deploy.end() == 130
    assert "goes on" in deploy.seen
    assert "lastgood rollback page@dev/us" in deploy.seen
    assert _open(cli)["state"] == "running"

    follow = Terminal(cli, "show", _open(cli)["id"], "--follow")
    follow.shows("the gate is passed; guarded until")
    assert "end it well: lastgood accept" in cli("status").stdout
    back = Terminal(cli, "rollback", UNIT)
    back.shows("Go back?")
    back.type("y\n")
    assert back.end() == 6, "a baseline has no criteria: back, but nothing says that it is good"
    assert "back, unverified" in back.seen
    assert "traffic back after" in back.seen
    assert follow.end() == 4
    assert "Traceback" not in deploy.seen + back.seen + follow.seen


def test_a_guard_window_that_nobody_watches_is_named(world: World, cli: Cli) -> None:
    world.guard = "300s"
    world.commit("guarded", text="guarded")
    done = cli("deploy", UNIT, *CHANGE, "--yes")
    assert "guarded until" in done.stdout
    os.kill(cli.data("status")["runner"], signal.SIGKILL)
    wait_for(lambda: not cli.data("status")["runner"])
    assert "guard not watched since" in cli("status").stdout
    runner = subprocess.Popen(
        cli.command("run"), cwd=cli.directory, env=cli.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: cli.data("status")["runner"] == runner.pid)
    assert "not watched" not in cli("status").stdout
    assert "lastgood run" not in cli("accept", UNIT, "--reason", "seen to be fine").stdout
    wait_for(lambda: _open(cli)["state"] == "accepted_early")
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=5) == 0
