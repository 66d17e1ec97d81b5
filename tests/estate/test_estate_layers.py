"""Layering by property: what explain says is what rendering uses."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lastgood.estate.layers import Layer, at, merge, merged, paths, provenance
from lastgood.estate.yamlfile import Document

KEYS = st.sampled_from(["a", "b", "c", "d.e"])
SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.text("xy", max_size=2)
VALUES = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
LAYERS = st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=4)


def layers_of(values: list[dict[str, Any]]) -> list[Layer]:
    return [Layer(f"layer {n}", f"{n}.yaml", Document(v, {(): 1})) for n, v in enumerate(values)]


@given(LAYERS)
def test_provenance_tells_the_merged_value(values: list[dict[str, Any]]) -> None:
    layers = layers_of(values)
    result = merged(layers)
    named = [".".join(map(str, path)) for path, _ in paths(result)]
    for path, value in paths(result):
        key = ".".join(map(str, path))
        if named.count(key) > 1:
            continue
        found = provenance(layers, key)
        assert found.value == value
        assert found.layers, "somebody set it"
        folded: Any = found.layers[0][3]
        for _, _, _, above in found.layers[1:]:
            folded = merge(folded, above)
        assert folded == value, "what the named layers say makes the value"
        if not isinstance(value, dict):
            assert found.layers[-1][3] == value, "the last one wins"


@given(LAYERS)
def test_every_key_of_the_highest_layer_holds(values: list[dict[str, Any]]) -> None:
    result = merged(layers_of(values))
    for path, value in paths(values[-1]):
        there, found = at(result, path)
        assert there
        if not isinstance(value, dict):
            assert found == value


@given(LAYERS)
def test_nothing_comes_from_nowhere(values: list[dict[str, Any]]) -> None:
    for path, value in paths(merged(layers_of(values))):
        setters = [at(layer, path) for layer in values]
        assert any(there for there, _ in setters)
        if not isinstance(value, dict):
            assert (True, value) in setters


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_layers_can_be_merged_in_any_grouping(a: Any, b: Any, c: Any) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) or _replaced(a, b, c)


def _replaced(a: Any, b: Any, c: Any) -> bool:
    """A mapping that was replaced by a scalar in between doesn't come back."""
    if not (isinstance(a, dict) and isinstance(b, dict) and isinstance(c, dict)):
        return isinstance(a, dict) and isinstance(c, dict) and not isinstance(b, dict)
    return any(_replaced(a[k], b[k], c[k]) for k in a.keys() & b.keys() & c.keys())


@given(LAYERS)
def test_merging_changes_no_layer(values: list[dict[str, Any]]) -> None:
    before = repr(values)
    merged(layers_of(values))
    assert repr(values) == before
