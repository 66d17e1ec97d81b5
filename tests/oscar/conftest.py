"""The migrations of django-oscar as triples, asked of Django once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lastgood.ports.drivers import MigrationScript
from lastgood.testing.conformance_migrates import script
from lastgood.testing.postgres_server import PostgresServer
from tests.drivers.postgresql.conftest import Lab, Tools, run

OSCAR = Path(sys.prefix, "oscar")
PYTHON_ONLY = "THIS OPERATION CANNOT BE WRITTEN AS SQL"

# Django gives a constraint that it makes again another name. The product refuses such a revert.sql, so what a
# developer would write is written here.
RENAMED = {
    "offer_0002_auto_20151210_1053": ("offer_benefit", "offer_benefit_proxy_class_91ca879e_uniq"),
    "offer_0003_auto_20161120_1707": ("offer_condition", "offer_condition_proxy_class_8d459a42_uniq"),
}


@dataclass(frozen=True)
class Step:
    """One migration. ``python``: how many of its operations are Python, of which no SQL tells."""

    app: str
    script: MigrationScript
    python: int

    @property
    def title(self) -> str:
        """Without the number of the order."""
        return self.script.name[5:]


@pytest.fixture(scope="package")
def server() -> Iterator[PostgresServer]:
    yield from run("wheel")


@pytest.fixture(scope="package")
def printed(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Step, ...]:
    """As Django prints them, in its order."""
    assert OSCAR.is_dir(), "django-oscar is not there: scripts/oscar installs it"
    with Lab(server, "postgres", Tools(Path())).session() as connection:
        connection.execute("CREATE DATABASE django")
    answer = tmp_path_factory.mktemp("oscar") / "answer.json"
    subprocess.run(
        [
            sys.executable, "-B", Path(__file__).with_name("sqlmigrate.py"),
            "127.0.0.1", str(server.port), "django", answer,
        ],
        env={**os.environ, "PYTHONPATH": str(OSCAR)},
        check=True,
    )  # fmt: skip
    return tuple(
        Step(
            found["app"],
            script(
                f"{number:04}_{found['app']}_{found['name']}",
                found["deploy"],
                _verify(found["columns"]),
                found["revert"],
            ),
            found["python"],
        )
        for number, found in enumerate(json.loads(answer.read_text()), 1)
    )


@pytest.fixture(scope="package")
def steps(printed: tuple[Step, ...]) -> tuple[Step, ...]:
    """As they are deployed: two reverts mended."""
    return tuple(
        Step(s.app, _mended(s.script, *RENAMED[s.title]) if s.title in RENAMED else s.script, s.python)
        for s in printed
    )


@pytest.fixture
def lab(server: PostgresServer) -> Iterator[Lab]:
    """An empty database on the same server."""
    with tempfile.TemporaryDirectory() as directory:
        lab = Lab(server, "oscar", Tools(Path(directory)))
        lab.ask("CREATE DATABASE oscar", name="postgres")
        yield lab
        for name in ("oscar", "oscar_copy"):
            lab.ask(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", name="postgres")


def _verify(columns: Mapping[str, list[str]]) -> str:
    """Every table of the app has the columns that its models have by now."""
    lines = ["SELECT 1;"]
    for table, names in sorted(columns.items()):
        lines.append(f'SELECT {", ".join(f"{chr(34)}{n}{chr(34)}" for n in names)} FROM "{table}" LIMIT 0;')
    return "\n".join(lines) + "\n"


def _mended(there: MigrationScript, table: str, name: str) -> MigrationScript:
    assert name in there.revert
    rename = f'ALTER TABLE "{table}" RENAME CONSTRAINT "{name}" TO "{table}_proxy_class_key";\n'
    return script(there.name, there.deploy, there.verify, there.revert.replace("COMMIT;", rename + "COMMIT;"))
