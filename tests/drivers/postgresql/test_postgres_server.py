"""The starter of real servers: detached, found again, killed, and without root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lastgood.testing import postgres_server, processes
from lastgood.testing.postgres_server import find, postgres, start_detached, stop_by_directory

ROOT = Path(__file__).parents[3]
START = (
    "import sys; from pathlib import Path; from lastgood.testing.postgres_server import start_detached\n"
    "print(start_detached(Path(sys.argv[1]), durable=False).url())"
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """With a short path that everybody may enter."""
    path = Path(tempfile.mkdtemp(prefix="lastgood-test-"))
    path.chmod(0o777)
    yield path
    stop_by_directory(path, "immediate")
    shutil.rmtree(path)


def answers(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def test_it_outlives_who_started_it_and_is_found_by_its_directory(directory: Path) -> None:
    url = subprocess.check_output([sys.executable, "-c", START, str(directory / "pg")], cwd=ROOT, text=True)
    assert answers(url.strip())
    found = find(directory / "pg")
    assert found is not None
    assert found.url() == url.strip()
    with psycopg.connect(found.url()) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    stop_by_directory(directory / "pg")
    assert found.pid == 0
    again = start_detached(directory / "pg")
    assert again == found
    with psycopg.connect(again.socket_url()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    stop_by_directory(directory / "pg")


def test_somebody_without_rights_can_run_it(directory: Path) -> None:
    """As root this becomes another user, with the system's Python and a copy: ours may be out of reach."""
    user = pwd.getpwnam("nobody")
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    copy = directory / "lastgood" / "testing"
    copy.mkdir(parents=True)
    for module in (postgres_server, processes):
        shutil.copyfile(module.__file__, copy / Path(module.__file__).name)
    code = (
        "from pathlib import Path; from lastgood.testing.postgres_server import *\n"
        "server = start_detached(Path('pg'), version='debian', durable=False)\n"
        "print(server.account == '', server.pid > 0)\n"
        "stop_by_directory(Path('pg')); print(server.pid)"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code],
        cwd=directory, capture_output=True, text=True, check=False, **identity,  # type: ignore[call-overload]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True True", "0"]


def test_a_place_that_the_servers_user_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with postgres(closed / "pg") as server:
        assert answers(server.url())
        data = server.data
        server.kill()
        assert server.pid == 0
        server.start()
        assert answers(server.url())
    assert not data.exists() or data.is_relative_to(closed)


def test_two_servers_have_ports_of_their_own(tmp_path: Path) -> None:
    with postgres(tmp_path / "one") as one, postgres(tmp_path / "two") as two:
        assert one.port != two.port
        assert answers(one.url())
        assert answers(two.url())


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_server, "DEBIAN", Path("/nowhere"))
    with pytest.raises(postgres_server.ServerFailed, match="apt-get install postgresql"):
        postgres_server.debian_binaries()
