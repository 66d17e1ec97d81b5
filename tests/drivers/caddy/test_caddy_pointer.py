"""The line in Caddy's pointer file: one address, one generation. No Caddy is needed to read and write it."""

from __future__ import annotations

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.drivers.caddy.pointer import line_of, parse
from lastgood.ports.traffic import Destination


@pytest.mark.parametrize("generation", ["green", "", "shop.prod.us-1f0e9d2c"])
@pytest.mark.parametrize("count", [2, 3])
def test_several_addresses_are_refused_with_what_to_do(generation, count) -> None:
    addresses = tuple(f"127.0.0.1:{8000 + number}" for number in range(count))
    with pytest.raises(InvalidInput, match=f"to one address, and there are {count}$") as caught:
        line_of(Destination(generation, addresses))
    assert "one replica" in str(caught.value.todo)
    assert "haproxy or nginx" in str(caught.value.todo)


def test_the_same_address_twice_is_two() -> None:
    with pytest.raises(InvalidInput, match="there are 2"):
        line_of(Destination("green", ("127.0.0.1:8000", "127.0.0.1:8000")))


@pytest.mark.parametrize(
    ("destination", "line"),
    [
        (Destination("green", ("127.0.0.1:8000",)), "127.0.0.1:8000 green\n"),
        (Destination("green", ("[::1]:8000",)), "[::1]:8000 green\n"),
        (Destination("", ("shop.internal:80",)), "shop.internal:80 -\n"),
        (Destination(), ""),
    ],
)
def test_what_is_written_is_read_again(destination, line) -> None:
    assert line_of(destination) == line
    assert parse(line) == destination


def test_a_generation_without_an_address_is_no_destination() -> None:
    with pytest.raises(InvalidInput, match="no destination"):
        line_of(Destination("green"))


@pytest.mark.parametrize(
    "line", ["127.0.0.1:1 127.0.0.1:2 green\n", "127.0.0.1:1,127.0.0.1:2\n", "green\n", "\n"]
)
def test_a_line_with_more_or_less_than_one_address_is_nowhere(line) -> None:
    assert parse(line) == Destination()
