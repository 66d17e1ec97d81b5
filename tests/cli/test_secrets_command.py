"""secrets on the command line: what is said and asked, and that no value is."""

from __future__ import annotations

import subprocess

from tests.cli.conftest import Cli
from tests.journey.world import World

UNIT = "page@dev/us"
CHANGE = ("--reason", "test", "--owner", "team", "--impact", "nobody", "--yes", "--wait", "guard")
NEW, NEWEST = "rotated-secret-value", "newest-secret-value"


def renew(cli: Cli, value: str, *words: str) -> str:
    """From standard input, as a shell hands it over."""
    done = subprocess.run(
        cli.command("secrets", "renew", "TOKEN", *words), cwd=cli.directory, env=cli.environment,
        input=value + "\n", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_token_is_listed_renewed_and_revoked(world: World, cli: Cli) -> None:
    assert "no unit was given a secret" in cli("secrets", "list").stdout
    cli("deploy", UNIT, *CHANGE)
    (old,) = cli.data("secrets")
    version = old["secret"]["version"]
    assert f"● {version[:8]}" in cli("secrets").stdout
    assert "nothing to revoke" in cli("secrets", "revoke", "TOKEN", "--reason", "x", code=2).stderr
    said = " ".join(renew(cli, NEW, "--reason", "rotated").split())
    assert f"is sealed as the newest version for {UNIT}" in said
    said = " ".join(cli("secrets", "revoke", "TOKEN", "--reason", "leaked").stdout.split())
    assert f"TOKEN {version[:8]} is revoked" in said
    assert f"{UNIT} runs with it still" in said
    assert "revoked already" in cli("secrets", "revoke", "TOKEN", version[:4], "--reason", "x").stdout
    _status_and_heal(cli)
    _what_is_left(world, cli, version)


def _status_and_heal(cli: Cli) -> None:
    assert "runs with a revoked TOKEN" in " ".join(cli("status").stdout.split())
    assert cli.data("status")["units"][0]["revoked"] == ["TOKEN"]
    assert "still gives the revoked version" in cli("plan", UNIT, code=2).stderr
    cli("heal", UNIT, "--reason", "rotated")
    assert cli.data("status")["units"][0]["revoked"] == []
    kinds = [p["kind"] for p in cli.data("history", UNIT)["restore_points"]]
    assert kinds == ["renewed", "verified", "baseline"]
    assert "renewed, not measured" in cli("history", UNIT).stdout


def _what_is_left(world: World, cli: Cli, version: str) -> None:
    file = world.root / "newest"
    file.write_text(NEWEST)
    cli.environment["JOURNEY_TOKEN"] = NEWEST
    world.commit("second", text="two")
    cli("deploy", UNIT, *CHANGE)
    shown = cli("plan", UNIT, "--back").stdout
    assert "with other versions" not in shown, "the renewed state is as it was kept"
    assert "comes back with TOKEN" in " ".join(cli("prove", UNIT).stdout.split())
    for found in cli.data("secrets", "list", "TOKEN"):
        if not found["revocation"]:
            cli("secrets", "revoke", "TOKEN", found["secret"]["version"], "--reason", "all of them")
    assert "can't go back: no valid TOKEN" in " ".join(cli("status").stdout.split())
    assert "lastgood secrets renew TOKEN" in cli("rollback", UNIT, "--yes", code=7).stderr
    cli("prove", UNIT, code=7)
    file.write_text("once-more-secret-value")
    cli("secrets", "renew", "TOKEN", "--from-file", str(file))
    assert "instead" in " ".join(cli("plan", UNIT, "--back").stdout.split())
    everything = cli("secrets", "list").stdout + cli("audit", "list", "--limit", "100").stdout
    assert "secret-value" not in everything
    assert version[:8] in everything
