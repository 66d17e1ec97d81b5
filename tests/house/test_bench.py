"""The harness: one line per bench, and an exit code that says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("body", "code"),
    [("return True", 0), ("return False", 1), ("raise OSError('disk full')", 1)],
)
def test_the_exit_code_says_whether_every_aim_was_met(tmp_path: Path, body: str, code: int) -> None:
    house = tmp_path / "bench"
    house.mkdir()
    (house / "__init__.py").touch()
    (house / "__main__.py").write_text((ROOT / "bench" / "__main__.py").read_text())
    (house / "_helper.py").write_text("raise RuntimeError('a helper is no bench')")
    (house / "first.py").write_text(f"def run() -> bool:\n    {body}\n")
    (house / "second.py").write_text("def run() -> bool:\n    print('second: aim met')\n    return True\n")
    run = subprocess.run([sys.executable, "-m", "bench"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == code
    assert run.stdout.startswith(machine())
    assert "second: aim met" in run.stdout
    assert ("not met: first" in run.stdout) is bool(code)
