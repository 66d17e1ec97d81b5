"""Errors: what, where, what to do next, an exit code; no stack trace for a user's mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "there is no command nonsense"),
        (["statsu"], "Did you mean status"),
        (["status", "--nonsense"], "there is no option --nonsense"),
        (["explain", "hello@dev/us"], "KEY is missing"),
        (["plan", "hello"], "'hello' is not a unit"),
        (["history", "--limit", "none"], "--limit"),
        (["--lang", "fr", "status"], "'fr' is not a language spoken here"),
        (["--estate", "/nowhere", "status"], "/nowhere is not an estate"),
        (["show", "r-never"], "r-never"),
        (["deploy", "hello@dev/us", "--yes"], "missing: --reason, --owner, --impact"),
        (["plan", "hello@dev/us", "--commit", "v0"], "v0"),
        (["accept", "hello@dev/us"], "needs a reason"),
        (["drift", "hello@dev/us"], "never deployed or adopted"),
        (["secrets", "revoke", "TOKEN", "--reason", "x"], "no unit was ever given a secret TOKEN"),
        (["secrets", "revoke", "TOKEN"], "revoking needs a reason"),
        (["secrets", "renew", "TOKEN", "--from-file", "/nowhere"], "/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_said_and_ends_with_2(scaffolded: Cli, words: list[str], said: str) -> None:
    done = scaffolded(*words, code=2)
    assert said in done.stderr
    assert done.stderr.startswith("✗ ")
    assert done.stdout == ""


def test_an_error_as_data_is_one_object_on_standard_output(scaffolded: Cli) -> None:
    error = scaffolded.data("plan", "hello", code=2)
    assert error == {
        "error": "InvalidInput",
        "what": "'hello' is not a unit",
        "where": "",
        "todo": "Write it as service@environment/site, for example storefront@prod/us.",
        "cause": None,
        "exit_code": 2,
    }
    assert scaffolded.process("plan", "hello", "--json", code=2).stderr == ""


def test_an_error_is_said_in_the_readers_language(scaffolded: Cli) -> None:
    assert "'hello' 不是单元" in scaffolded("plan", "hello", code=2, LASTGOOD_LANG="zh").stderr
    assert "'hello' 不是单元" in scaffolded("plan", "hello", "--lang", "zh", code=2).stderr


def test_without_estate_and_state_it_says_where_to_go(tmp_path: Path) -> None:
    done = Cli(tmp_path).process("status", code=2)
    assert "no estate and no state directory here" in done.stderr
    assert "lastgood init" in done.stderr


def test_a_deploy_without_a_terminal_needs_a_yes(scaffolded: Cli) -> None:
    words = ["deploy", "hello@dev/us", "--reason", "r", "--owner", "o", "--impact", "i"]
    done = scaffolded(*words, code=2)
    assert "nobody can be asked here" in done.stderr
    assert "--yes" in done.stderr
    assert "nobody can be asked here" in scaffolded("rollback", "hello@dev/us", code=2).stderr


def test_a_rollback_without_a_restore_point_is_refused(scaffolded: Cli) -> None:
    done = scaffolded("rollback", "hello@dev/us", "--yes", code=7)
    assert "no restore point to go back to" in done.stderr


def test_an_unforeseen_error_is_one_line_and_a_file(scaffolded: Cli) -> None:
    # The first command that writes makes it; no other test need have run before.
    (scaffolded.directory / ".lastgood").mkdir(exist_ok=True)
    code = (
        "from lastgood.cli.errors import guarded, install_crash_report\n"
        "install_crash_report([])\n"
        "guarded([], lambda: 1 // 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=scaffolded.directory, env=scaffolded.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "internal error ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    (report,) = (scaffolded.directory / ".lastgood").glob("crash-*.log")
    assert "1 // 0" in report.read_text() or "ZeroDivisionError" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


def test_a_reader_who_has_seen_enough_hears_no_complaint(scaffolded: Cli) -> None:
    process = subprocess.Popen(
        scaffolded.command("render", "hello@dev/us"),
        cwd=scaffolded.directory, env=scaffolded.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, complaint = process.communicate(timeout=30)
    assert complaint == b""
    assert process.returncode == 141


def test_colour_is_left_out_where_it_is_not_wanted(scaffolded: Cli) -> None:
    for more in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {}):
        assert "\x1b" not in scaffolded("plan", "hello", code=2, **more).stderr
        assert "\x1b" not in scaffolded("explain", "hello@dev/us", "greeting", **more).stdout
