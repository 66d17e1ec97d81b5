"""What every driver that answers signals must keep; subclass it and give the fixtures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from lastgood.domain.criterion import Signal
from lastgood.ports.drivers import Measures, Reading

PATIENCE = 5.0


@dataclass(frozen=True)
class Subject:
    """A driver with a ratio signal and the hooks that make its events happen.

    ``good`` and ``bad`` make one event each; where each read is itself the event (a probe), they decide
    what the next one will be, and ``read_is_event`` is True. ``break_target`` makes the target unable
    to answer, ``mend_target`` able again. ``build`` makes another driver for the same unit.
    """

    build: Callable[[], Measures]
    signal: Signal
    good: Callable[[], None]
    bad: Callable[[], None]
    break_target: Callable[[], None]
    mend_target: Callable[[], None]
    read_is_event: bool = False


class MeasuresConformance:
    """The subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    def test_it_says_that_it_measures(self, subject: Subject) -> None:
        assert isinstance(subject.build(), Measures)

    def test_good_and_bad_are_told_apart(self, subject: Subject) -> None:
        driver = subject.build()
        cursor = driver.begin(subject.signal)
        counts = []
        for total, event in enumerate((subject.good, subject.bad, subject.good, subject.bad), 1):
            event()
            reading = settled(driver, subject.signal, cursor, total)
            cursor = reading.cursor
            counts.append((reading.good, reading.total, reading.error))
        assert counts == [(1, 1, ""), (1, 2, ""), (2, 3, ""), (2, 4, "")]

    def test_what_was_before_does_not_count(self, subject: Subject) -> None:
        driver = subject.build()
        for _ in range(3):
            subject.bad()
        cursor = driver.begin(subject.signal)
        subject.good()
        reading = settled(driver, subject.signal, cursor, 1)
        assert (reading.good, reading.total) == (1, 1)

    def test_a_cursor_is_plain_data_that_another_process_goes_on_with(self, subject: Subject) -> None:
        cursor = subject.build().begin(subject.signal)
        subject.good()
        first = settled(subject.build(), subject.signal, kept(cursor), 1)
        subject.bad()
        second = settled(subject.build(), subject.signal, kept(first.cursor), 2)
        assert (second.good, second.total) == (1, 2)

    def test_no_event_is_no_data(self, subject: Subject) -> None:
        driver = subject.build()
        reading = driver.read(subject.signal, driver.begin(subject.signal))
        if subject.read_is_event:
            assert reading.total == 1
        else:
            assert (reading.good, reading.total, reading.value, reading.error) == (0, 0, None, "")

    def test_a_read_that_is_repeated_counts_nothing_twice(self, subject: Subject) -> None:
        driver = subject.build()
        begun = driver.begin(subject.signal)
        subject.good()
        first = settled(driver, subject.signal, begun, 1)
        again = driver.read(subject.signal, begun)
        assert (again.good, again.total) == (first.good, first.total) == (1, 1)

    def test_a_target_that_cannot_answer_is_no_exception(self, subject: Subject) -> None:
        driver = subject.build()
        cursor = driver.begin(subject.signal)
        subject.good()
        before = settled(driver, subject.signal, cursor, 1)
        subject.break_target()
        reading = driver.read(subject.signal, before.cursor)
        if subject.read_is_event:
            assert (reading.good, reading.total) == (1, 2)
        else:
            assert (reading.good, reading.total, reading.value) == (0, 0, None)
            assert reading.error
        subject.mend_target()
        subject.good()
        after = settled(driver, subject.signal, reading.cursor, 3 if subject.read_is_event else 2)
        assert (after.good, after.error) == (2, "")

    def test_a_target_that_cannot_answer_at_the_beginning(self, subject: Subject) -> None:
        driver = subject.build()
        subject.break_target()
        cursor = driver.begin(subject.signal)
        reading = driver.read(subject.signal, kept(cursor))
        assert reading.good == 0
        subject.mend_target()
        start = driver.read(subject.signal, kept(reading.cursor))
        subject.good()
        after = settled(driver, subject.signal, kept(start.cursor), start.total + 1)
        assert after.total == start.total + 1


def kept(cursor: Mapping[str, Any]) -> Mapping[str, Any]:
    """The cursor as it comes back from a store."""
    return dict(json.loads(json.dumps(dict(cursor))))


def settled(driver: Measures, signal: Signal, cursor: Mapping[str, Any], total: int) -> Reading:
    """The first reading that has counted ``total`` events: a target may count a little later."""
    deadline = time.monotonic() + PATIENCE
    reading = driver.read(signal, cursor)
    while reading.total < total and time.monotonic() < deadline:
        time.sleep(0.01)
        reading = driver.read(signal, reading.cursor)
    assert reading.total == total, f"{reading.good} of {reading.total} ({reading.error}), not of {total}"
    return reading
