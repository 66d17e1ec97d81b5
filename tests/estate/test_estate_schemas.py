"""The schemas are valid, say what each setting means, and are those that lint uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lastgood.domain.release import Windows
from lastgood.domain.unit import NAME, Role
from lastgood.estate import yamlfile
from lastgood.estate.model import seconds
from lastgood.estate.schema import NAMES, Strict, check, schema

ROOT = Path(__file__).resolve().parents[2]


def settings(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(part, dict):
        for name, setting in part.get("properties", {}).items():
            yield f"{path}.{name}", setting
        for key, below in part.items():
            yield from settings(below, f"{path}.{key}")


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid_and_described(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    described = dict(settings(found))
    assert described
    assert [path for path, setting in described.items() if not setting.get("description")] == []
    assert found["$defs"]["name"]["pattern"] == f"^{NAME.pattern}$"


@pytest.mark.parametrize("page", ["docs/estate.md", "docs/zh/estate.md"])
def test_the_examples_of_the_documentation_are_valid(page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert len(blocks) == len(NAMES)
    for name, block in zip(NAMES, blocks, strict=True):
        assert check(name, yamlfile.load(block.encode(), page), page) == []


def test_the_schema_knows_every_role_and_window() -> None:
    properties = schema("service")["properties"]
    assert set(properties["roles"]["properties"]) == {role.value for role in Role}
    assert set(properties["windows"]["properties"]) == set(Windows.__dataclass_fields__)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("500ms", 0.5), ("5s", 5.0), ("10m", 600.0), ("1h", 3600.0), ("1.5s", 1.5), (7, 7.0), (0.25, 0.25)],
)
def test_durations(given: str | float, expected: float) -> None:
    validator = Strict(schema("service")["$defs"]["duration"])
    assert validator.is_valid(given)
    assert seconds(given) == expected


@pytest.mark.parametrize("given", ["5", "5 s", "s", "-5s", "5d", "", "1e3s", -1, None, True, "5s\n"])
def test_what_is_no_duration(given: Any) -> None:
    assert not Strict(schema("service")["$defs"]["duration"]).is_valid(given)
