"""Fails when a test was skipped or none ran: a missing real component is a failure, never a skip."""

from __future__ import annotations

import sys
from xml.etree import ElementTree


def main() -> int:
    cases = list(ElementTree.parse(sys.argv[1]).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    for case in skipped:
        print(f"skipped: {case.get('classname')}::{case.get('name')}: {case.find('skipped').get('message')}")
    print(f"{len(cases)} tests, {len(skipped)} skipped")
    return 1 if skipped or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
