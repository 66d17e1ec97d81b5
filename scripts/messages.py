"""The message catalogue: ``update`` takes in new messages and compiles, ``check`` names what is wrong.

Messages are what is marked with ``N_("…")`` under src/. The compiled catalogue is committed, so that a
clone works without a build step.
"""

from __future__ import annotations

import argparse
import gettext
import string
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"
CATALOGUE = SOURCES / "lastgood" / "locale" / "zh_CN" / "LC_MESSAGES" / "lastgood.po"


def extracted() -> dict[str, str]:
    """Every marked template with the first place where it stands; test helpers speak to no user."""
    found: dict[str, str] = {}
    for path, line, template, _, _ in extract_from_dir(SOURCES, [("**.py", "python")], keywords={"N_": None}):
        if isinstance(template, str) and template and not path.startswith("lastgood/testing/"):
            found.setdefault(template, f"src/{path}:{line}")
    return found


def placeholders(template: str) -> set[str]:
    """What is filled in; raises ValueError when the template is malformed."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def read() -> Catalog:
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="zh_CN", domain="lastgood")


def problems() -> list[str]:
    """One line per message that is missing, unknown, empty, unsure, or filled differently."""
    catalogue, found = read(), extracted()
    wrong = []
    for template, where in found.items():
        message = catalogue.get(template)
        if message is None or not message.string:
            wrong.append(f"{where}: no translation of {template!r}")
        elif message.fuzzy:
            wrong.append(f"{where}: the translation of {template!r} is marked unsure")
        elif placeholders(template) != placeholders(str(message.string)):
            wrong.append(f"{where}: the translation of {template!r} fills in other names")
    wrong += [f"no longer in the sources: {m.id!r}" for m in catalogue if m.id and m.id not in found]
    compiled = CATALOGUE.with_suffix(".mo")
    told = vars(gettext.GNUTranslations(compiled.open("rb")))["_catalog"] if compiled.exists() else {}
    written = {m.id: m.string for m in catalogue if m.id and m.string and not m.fuzzy}
    if {key: text for key, text in told.items() if key} != written:
        wrong.append("the compiled catalogue is older than the written one")
    return wrong


def update() -> None:
    """Add what is new (untranslated), drop what is gone, sort, compile."""
    catalogue, found = read(), extracted()
    for template in found:
        if template not in catalogue:
            catalogue.add(template, "")
    for message in list(catalogue):
        if message.id and message.id not in found:
            catalogue.delete(message.id)
    catalogue.obsolete.clear()
    with CATALOGUE.open("wb") as file:
        write_po(file, catalogue, sort_output=True, no_location=True, width=110)
    with CATALOGUE.with_suffix(".mo").open("wb") as file:
        write_mo(file, catalogue)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["update", "check"])
    if parser.parse_args().verb == "update":
        update()
    wrong = problems()
    print("\n".join(wrong) or "the catalogue is complete")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
