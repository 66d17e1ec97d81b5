"""What else people do to get a database back: its dump, pgBackRest, a reverse script by Sqitch."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.support.database_world import SPOIL, DatabaseWorld


@dataclass
class Dumped:
    """``pg_dump`` before the change; ``pg_restore -j2`` into a new database, and the names changed."""

    world: DatabaseWorld
    name: str
    title: str = "pg_restore -j2 of a dump"

    def before(self) -> None:
        self.dump = self.world.root / f"{self.name}.dump"
        self.world.tool("pg_dump", "-Fd", "-j2", "-Z1", "-f", str(self.dump), self.name)

    def change(self) -> None:
        self.world.ask(self.name, SPOIL.deploy)

    def back(self) -> None:
        # Whoever writes meanwhile is lost, or in the way of the load: the name is free until it is whole.
        self.world.ask("postgres", f'DROP DATABASE "{self.name}" WITH (FORCE)')
        self.world.ask("postgres", f"CREATE DATABASE {self.name}_loading")
        self.world.tool("pg_restore", "-j2", "-d", f"{self.name}_loading", str(self.dump))
        self.world.ask("postgres", f"ALTER DATABASE {self.name}_loading RENAME TO {self.name}")


@dataclass
class BackRest:
    """A full backup before the change; the server stopped, ``restore --delta``, started."""

    world: DatabaseWorld
    name: str
    title: str = "pgBackRest restore --delta (whole server)"

    def before(self) -> None:
        server, home = self.world.server, Path("/var/tmp") / f"lastgood-bench-{self.name}"
        self.home = home
        for folder in ("repo", "log", "lock"):
            (home / folder).mkdir(parents=True)
        self.options = [
            "--stanza=shop", f"--repo1-path={home / 'repo'}", f"--log-path={home / 'log'}",
            f"--lock-path={home / 'lock'}", f"--pg1-path={server.data}",
            "--log-level-console=error",
        ]  # fmt: skip
        shutil.chown(home, server.account or None)
        for path in home.iterdir():
            shutil.chown(path, server.account or None)
        self.there = [
            f"--pg1-port={server.port}",
            f"--pg1-socket-path={server.socket}",
            "--pg1-user=postgres",
        ]
        push = " ".join(["pgbackrest", *self.options, "archive-push", "%p"])
        server.configure(archive_command=push)
        self._run("stanza-create", *self.there)
        self._run(
            "backup", "--type=full", "--start-fast", "--process-max=2", "--compress-type=lz4", *self.there
        )

    def change(self) -> None:
        self.world.ask(self.name, SPOIL.deploy)

    def back(self) -> None:
        self.world.server.stop()
        # To where the backup ended: the log after it holds the bad migration as well.
        self._run("restore", "--delta", "--process-max=2", "--type=immediate", "--target-action=promote")
        self.world.server.start()
        while self.world.ask("postgres", "SELECT pg_is_in_recovery()")[0][0]:
            time.sleep(0.02)

    def end(self) -> None:
        self.world.server.configure(archive_command="/bin/true")
        shutil.rmtree(self.home, ignore_errors=True)

    def _run(self, *words: str) -> None:
        command = ["pgbackrest", *self.options, *words]
        _checked(command, self.world.server.account)


@dataclass
class Sqitch:
    """The reverse script that somebody wrote: quick, and it can't know the old values."""

    world: DatabaseWorld
    name: str
    title: str = "sqitch revert"

    def before(self) -> None:
        self.home = self.world.root / f"sqitch-{self.name}"
        self.home.mkdir()
        self._run("init", "shop", "--engine", "pg")
        self._run("add", "prices", "-n", "New prices")
        for folder, text in (("deploy", SPOIL.deploy), ("revert", SPOIL.revert), ("verify", SPOIL.verify)):
            (self.home / folder / "prices.sql").write_text(f"BEGIN;\n{text}COMMIT;\n")

    def change(self) -> None:
        self._run("deploy", self._target())

    def back(self) -> None:
        self._run("revert", "-y", self._target())

    def _target(self) -> str:
        return f"db:pg://postgres@127.0.0.1:{self.world.server.port}/{self.name}"

    def _run(self, *words: str) -> None:
        who = {
            "SQITCH_FULLNAME": "bench", "SQITCH_EMAIL": "bench@example.org",
            "PATH": f"{self.world.server.binaries}:{os.environ['PATH']}", "HOME": str(self.home),
        }  # fmt: skip
        _checked(["sqitch", *words], "", cwd=self.home, environment=who)


def _checked(
    command: list[str], account: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> None:
    """Raises RuntimeError with what it said."""
    who = pwd.getpwnam(account) if account else None
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd or "/", env=environment,
        user=who.pw_uid if who else None, group=who.pw_gid if who else None,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
