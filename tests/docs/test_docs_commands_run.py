"""What the pages tell a person to type is typed here, in order, on a real service behind a real Caddy."""

from __future__ import annotations

import re

import pytest

from tests.docs.conftest import UNIT, Trial
from tests.docs.reading import named, scripts

ANSWERS = {"first": "Hello, world! (dev/us)", "next": "Hello, everybody! (dev/us)"}


@pytest.mark.timeout(400)
def test_what_the_pages_say_works_in_their_order(trial: Trial) -> None:
    five_minutes_of_the_readme(trial)
    a_second_good_state(trial)
    the_commands_of_the_night(trial)


def five_minutes_of_the_readme(trial: Trial) -> None:
    (block,) = [b for b in scripts(named("README.md")) if "lastgood init" in b.text]
    answers = []
    for line in block.commands:
        if line in ("cd my-estate", "caddy start"):
            continue  # the trial is there, and has its Caddy
        said = trial.shell(trial.here(line))
        if line.startswith("lastgood init"):
            trial.on_free_ports()
        if line.startswith("lastgood accept"):
            trial.settle()
        if line.startswith("curl"):
            answers.append(said.strip())
        if line.startswith("lastgood status"):
            assert "guarding" in said
            assert "warm" in said
    assert answers == [ANSWERS["first"]] * 2
    points = trial.told(f"lastgood history {UNIT}")["restore_points"]
    assert [p["kind"] for p in points] == ["accepted", "baseline"]


def a_second_good_state(trial: Trial) -> None:
    """What the commands of the night need: something older to go back to."""
    trial.shell(f'lastgood deploy {UNIT} --reason "again" --owner team-shop --impact "dev only" --yes')
    trial.shell(f'lastgood accept {UNIT} --reason "it answers"')
    trial.settle()
    assert trial.shell(trial.here("curl http://127.0.0.1:8101/")).strip() == ANSWERS["next"]


def the_commands_of_the_night(trial: Trial) -> None:
    expected = {
        # Nothing is left to measure on a baseline.
        "--to rp-storefront.prod.us-baseline": 6,
        # No gate broke here, so nothing is frozen.
        "lastgood unfreeze": 4,
        # The trial's service has no secrets.
        "lastgood secrets re": 2,
        # One of its sites was never served before: there is nothing to measure once it is back.
        "--change c-": 6,
    }
    rebooted = restored = False
    for block in scripts(named("docs/operations.md")):
        if "lastgood drift" in block.text and block.excluded:
            trial.reboot()
            rebooted = True
            expected["lastgood drift"] = 4
        if "storefront@prod/*" in block.text:
            trial.shell("sed -i 's/audience: .*/audience: nobody/' services/hello/values.yaml")
            trial.shell("git commit -qam 'Greet nobody'")
        if block.commands[0] == "lastgood audit verify":
            restore(trial)
            restored = True
        for line in block.commands:
            code = next((c for part, c in expected.items() if part in line), 0)
            trial.shell(trial.here(line), code)
            if line.startswith("lastgood show c-"):
                assert set(trial.told(trial.here(line))) == fields_of_a_change()
            if line.startswith("mkdir"):
                # Whoever backs up has said where the state is.
                trial.environment["LASTGOOD_STATE"] = str(trial.estate / ".lastgood")
        if expected.pop("lastgood drift", 0):
            assert trial.shell(trial.here("curl http://127.0.0.1:8101/")).strip() == ANSWERS["next"]
            trial.environment["LASTGOOD_STATE"] = str(trial.estate / ".lastgood")
    assert rebooted
    assert restored


def fields_of_a_change() -> set[str]:
    """As docs/commands.md tells them."""
    text = named("docs/commands.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| `progress`")]
    (more,) = [line for line in text.splitlines() if line.startswith("`show CHANGE`")]
    found = row.split("|")[3] + more.partition(";")[0].removeprefix("`show CHANGE`")
    return set(re.findall(r"`(\w+)`", found))


def restore(trial: Trial) -> None:
    """As the page says: unpack into an empty directory, the database beside it."""
    trial.shell(
        "mkdir -m 700 restored && tar -C restored -xf backup/state.tar && cp backup/lastgood.db restored/"
    )
    trial.environment["LASTGOOD_STATE"] = str(trial.estate / "restored")
    (unit,) = trial.told(f"lastgood status {UNIT}")["units"]
    assert unit["way_back"]["missing"] == 0
