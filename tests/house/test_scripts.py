"""The scripts that CI leans on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.readme_commands import commands

ROOT = Path(__file__).resolve().parents[2]

README = """\
# Product
```sh
# first look
make demo
lastgood status   # what is there
```
<!-- not run: needs a server -->
```sh
ssh somewhere
```
```text
$ an answer
```
"""


def test_only_sh_blocks_of_a_readme_are_commands() -> None:
    assert commands(README) == ["make demo", "lastgood status   # what is there"]


@pytest.mark.parametrize(
    ("case", "code"), [("<testcase/>", 0), ('<testcase><skipped message="no"/></testcase>', 1), ("", 1)]
)
def test_a_skipped_test_fails_the_build(tmp_path: Path, case: str, code: int) -> None:
    report = tmp_path / "tests.xml"
    report.write_text(f"<testsuites><testsuite>{case}</testsuite></testsuites>")
    run = subprocess.run([sys.executable, "scripts/check_junit.py", report], cwd=ROOT, capture_output=True)
    assert run.returncode == code


def bootstrap(checkout: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "bootstrap", *names],
        env={**os.environ, "LASTGOOD_VENV": str(checkout / "venv"), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a package that needs nothing, so that no registry is asked for anything."""
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "bootstrap"
    script.write_text((ROOT / "scripts" / "bootstrap").read_text())
    script.chmod(0o755)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "thing"\nversion = "1"\n[dependency-groups]\ndev = []\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tmp_path / "backend.py").write_text(BACKEND)
    return tmp_path


BACKEND = '''\
"""The smallest backend that pip accepts."""
import zipfile

INFO = "thing-1.dist-info"

def build_editable(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{directory}/thing-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{INFO}/METADATA", "Metadata-Version: 2.1\\nName: thing\\nVersion: 1\\n")
        wheel.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("thing.py", "")
        wheel.writestr(f"{INFO}/RECORD", "")
    return "thing-1-py3-none-any.whl"
'''


def test_bootstrap_installs_once_and_again_when_the_requirements_change(checkout: Path) -> None:
    first = bootstrap(checkout, "dev")
    assert first.returncode == 0, first.stderr
    assert "installing" in first.stderr
    assert bootstrap(checkout, "dev").stderr == ""
    (checkout / "pyproject.toml").write_text((checkout / "pyproject.toml").read_text() + "\n# changed\n")
    assert "installing" in bootstrap(checkout, "dev").stderr


def test_bootstrap_refuses_what_is_neither_extra_nor_group(checkout: Path) -> None:
    run = bootstrap(checkout, "nonsense")
    assert run.returncode != 0
    assert "neither an extra nor a group: nonsense" in run.stderr
    assert bootstrap(checkout, "nonsense").returncode != 0


def test_bootstrap_says_when_no_python_is_new_enough(checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("dirname", "cat", "cksum", "tr", "sh", "id"):
        (tools / name).symlink_to(
            next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists())
        )
    script = checkout / "scripts" / "bootstrap"
    script.write_text(script.read_text().replace("/usr/bin/python3", "no-python-here"))
    run = bootstrap(checkout, PATH=str(tools))
    assert run.returncode == 1
    assert "Python 3.11 or later is needed" in run.stderr
