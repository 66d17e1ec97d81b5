"""Help: every command explains itself with an example, within 80 columns, in both languages."""

from __future__ import annotations

import pytest

from lastgood.cli.helping import cells
from lastgood.cli.main import COMMANDS, main
from lastgood.cli.options import hoist
from lastgood.translation import VARIABLES

OWN = [name for name in COMMANDS if name != "demo"]
BELOW = {
    "audit": ("list", "verify"),
    "quarantine": ("list", "add", "lift"),
    "secrets": ("list", "revoke", "renew"),
}
NESTED = [(group, word) for group, words in BELOW.items() for word in words]
GROUPS = tuple((group,) for group in BELOW)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LASTGOOD_LANG", "en")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("words", [(), *((name,) for name in OWN), *NESTED], ids=" ".join)
def test_help_fits_and_has_an_example(
    words: tuple[str, ...], lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help", "--lang", lang]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if cells(line) > 80] == []
    assert words in GROUPS or f"\n  lastgood {' '.join(words)}".rstrip() in out


def test_the_outermost_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == bare
    for name in COMMANDS:
        assert f"\n  {name} " in bare


@pytest.mark.parametrize(
    ("words", "hoisted"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["status", "--estate", "d", "u", "--lang=zh"], ["--estate", "d", "--lang=zh", "status", "u"]),
        (["show", "--", "--json"], ["show", "--", "--json"]),
        (["--lang", "zh", "demo", "--json"], ["--lang", "zh", "demo", "--json"]),
        (["demo", "stop", "--state", "x"], ["demo", "stop", "--state", "x"]),
        (["render", "u", "--state"], ["render", "u", "--state"]),
    ],
)
def test_global_options_may_stand_anywhere(words: list[str], hoisted: list[str]) -> None:
    assert hoist(words) == hoisted


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from lastgood import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lastgood {__version__}\n"
