"""A deploy is planned while data is still as a change that was taken back left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.actions import plan_change
from lastgood.domain.capture import DataLeft
from tests.actions.test_image_planning import DEV, Stage
from tests.actions.theatre import BEGAN, Theatre


def test_the_plan_says_what_it_builds_on(
    theatre: Theatre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(theatre, tmp_path / "estate")
    stage.push("1.0")
    left = DataLeft("shop@dev", "0002_prices", "s", BEGAN, "/p", restorable=True)
    monkeypatch.setattr(plan_change, "data_left", lambda unit, release: (left,))
    notes = [str(note) for note in plan_change.plan_change(stage.context, DEV).plan.notes]
    assert any("0002_prices left it, and this change builds on that" in note for note in notes)
    assert any(f"lastgood restore {DEV}" in note for note in notes)
