"""Whatever is kept comes back as it was, and under the same digest."""

from __future__ import annotations

import string
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastgood.domain.change import Change, ChangePlan
from lastgood.domain.criterion import Criterion, Finding, GateResult, Signal
from lastgood.domain.errors import Cause, DriverError
from lastgood.domain.incident import Freeze, Incident
from lastgood.domain.message import Message
from lastgood.domain.plan import Difference, Estimate, Plan, Step
from lastgood.domain.release import Release, RoleSpec, Windows
from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.domain.rollout import Request, Rollout
from lastgood.domain.unit import Target, UnitId
from lastgood.domain.wave import Member
from lastgood.store import codec
from tests.store import making

words = st.text(max_size=12)
names = st.text(string.ascii_letters, min_size=1, max_size=8)
# A number in the estate may be written 1 or 1.0, and is kept as it was written.
numbers = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
data = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
mappings = st.dictionaries(names, data, max_size=3)
times = st.datetimes(timezones=st.just(UTC))

st.register_type_strategy(float, numbers)
few = {
    UnitId: st.builds(UnitId, names, names, names),
    Target: st.builds(Target, names, mappings),
    Signal: st.builds(Signal, settings=mappings),
    Step: st.builds(Step, params=mappings, undo=st.builds(Message, words), estimate=st.builds(Estimate)),
    Message: st.builds(Message, words, st.dictionaries(names, data | st.builds(Message, words), max_size=2)),
    RoleSpec: st.builds(RoleSpec, environment=st.dictionaries(names, words, max_size=2)),
}
for kind, strategy in few.items():
    st.register_type_strategy(kind, strategy)


def lists_of(kind: type[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.from_type(kind), max_size=2).map(tuple)


gates = st.builds(GateResult, findings=lists_of(Finding), since=st.none() | times, until=st.none() | times)
releases = st.builds(
    Release, roles=lists_of(RoleSpec), criteria=lists_of(Criterion), windows=st.builds(Windows)
)
plans = st.builds(
    Plan,
    steps=lists_of(Step),
    way_back=lists_of(Step),
    notes=lists_of(Message),
    difference=st.builds(Difference),
)
rollouts = st.builds(
    Rollout,
    plan=plans,
    change=st.builds(Request, requested_at=times),
    created_at=times,
    finished_at=st.none() | times,
    gate=st.none() | gates,
)
changes = st.builds(
    Change,
    plan=st.builds(ChangePlan, waves=st.lists(lists_of(Member), max_size=2).map(tuple), steps=lists_of(Step)),
    request=st.builds(Request, requested_at=times),
    created_at=times,
    finished_at=st.none() | times,
)
anything = st.one_of(
    changes,
    releases,
    plans,
    rollouts,
    gates,
    st.builds(Incident, opened_at=times, closed_at=st.none() | times),
    st.builds(Freeze, at=times, lifted_at=st.none() | times),
    st.builds(RestorePoint, created_at=times, gate=st.none() | gates),
    st.builds(Snapshot, created_at=times, proven_at=st.none() | times),
)


@settings(max_examples=150)
@given(anything)
def test_an_object_comes_back_equal(value: Any) -> None:
    assert codec.load(type(value), codec.parse(codec.text(value))) == value


@settings(max_examples=100)
@given(releases | plans)
def test_an_object_comes_back_under_its_digest(value: Any) -> None:
    assert codec.load(type(value), codec.dump(value)).digest == value.digest


def test_one_and_one_point_nought_stay_apart() -> None:
    whole = making.release(windows=Windows(watch=1))
    exact = making.release(windows=Windows(watch=1.0))
    assert whole.digest != exact.digest
    assert codec.load(Release, codec.dump(whole)).digest == whole.digest
    assert codec.load(Release, codec.dump(exact)).digest == exact.digest


def test_a_sentence_inside_a_sentence_stays_one() -> None:
    sentence = Message("{why}, so it went back", {"why": Message("{n} failed", {"n": 3})})
    assert str(codec.load(Message, codec.dump(sentence))) == "3 failed, so it went back"


def test_paths_and_bytes_that_were_never_text_are_kept() -> None:
    kept = codec.parse(codec.text({"path": Path("a/b"), "output": "caf\udce9"}))
    assert kept == {"path": "a/b", "output": "caf\udce9"}


@pytest.mark.parametrize("damage", [{}, {"id": 3}, {"id": "i", "unit": "x"}])
def test_what_does_not_fit_is_called_damaged(damage: dict[str, Any]) -> None:
    with pytest.raises(DriverError) as caught:
        codec.load(Incident, damage)
    assert caught.value.cause is Cause.WRONG_PATH
    assert caught.value.todo
