"""Builds the wheel, and fails when a tracked file of the package is missing from the wheel."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> set[str]:
    """Paths below src/, as Git knows them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {path.removeprefix("src/") for path in listed.stdout.split("\0") if path}


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, str(ROOT)]
        subprocess.run(pip, check=True)
        (wheel,) = Path(directory).glob("*.whl")
        packed = set(ZipFile(wheel).namelist())
    missing = sorted(tracked() - packed)
    print("\n".join(f"not in the wheel: {path}" for path in missing) or f"{wheel.name}: {len(packed)} files")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
