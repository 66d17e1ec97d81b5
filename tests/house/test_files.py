"""What may not stand in any file of this repository, and what has to agree between files."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.readme_commands import commands

ROOT = Path(__file__).resolve().parents[2]

MACHINE_PATHS = re.compile(r"/(?:home|Users)/[a-z]\w*/|/work/|/root/\.|/opt/pypi")
ADDRESSES = re.compile(r"(?:index[-_]url|find[-_]links)\s*[=:]\s*\S+|pypi\.org|pythonhosted\.org|get-pip")


def texts() -> list[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    found = []
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path == Path(__file__).resolve():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((name, content.decode("utf-8")))
    return found


@pytest.mark.parametrize("forbidden", [MACHINE_PATHS, ADDRESSES], ids=["machine paths", "registries"])
def test_no_file_names_a_machine_or_a_registry(forbidden: re.Pattern[str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert found == []


def test_both_readmes_name_the_same_commands() -> None:
    english, chinese = (
        commands((ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "README.zh-CN.md")
    )
    assert english
    assert [line.split("#")[0].rstrip() for line in english] == [
        line.split("#")[0].rstrip() for line in chinese
    ]


def test_the_readme_names_the_two_commands_of_a_new_machine() -> None:
    assert {"make demo", "make test"} <= set(commands((ROOT / "README.md").read_text(encoding="utf-8")))


def test_every_driver_that_is_declared_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, target in project["entry-points"]["lastgood.drivers"].items():
        module = target.partition(":")[0]
        assert (ROOT / "src" / Path(*module.split("."))).with_suffix(".py").is_file(), name


def test_the_catalogue_is_complete() -> None:
    run = subprocess.run(
        [sys.executable, "scripts/messages.py", "check"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
