"""The report needs nothing but itself, and says what the data says."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lastgood.demo.rates import lowest, success_rates
from lastgood.demo.report import render, write_report
from lastgood.demo.report_data import Figures
from lastgood.demo.shoppers import Seen
from tests.demo.sample_report import sample, unproven

VOID = {"meta", "input", "br", "line", "path", "rect", "link", "img"}


class Page(HTMLParser):
    """Checks that every element is closed, and keeps what a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [
            f"{tag} {k}={v}" for k, v in attrs if k in ("src", "href", "srcset", "xlink:href", "action")
        ]
        if tag in ("script", "link", "iframe", "object", "embed", "base"):
            self.loads.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("data", [sample(), unproven()], ids=["proven", "unproven"])
def test_needs_nothing_but_itself(tmp_path: Path, lang: str, data: object) -> None:
    path = tmp_path / "report.html"
    write_report(path, data, lang)  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert not re.search(r"url\(|@import|https?:|javascript:|\son\w+=", text)
    assert f'id="lang-{lang}" ' in text
    assert re.search(rf'id="lang-{lang}"[^>]* checked>', text)
    assert list(tmp_path.iterdir()) == [path]


def test_says_what_is_proven_and_what_is_not() -> None:
    good, bad = render(sample()), render(unproven())
    assert "1065 = 1065" in good
    assert "no order was lost" in good
    assert "没有丢失任何订单" in good
    assert "1065 ≠ 1064" in bad
    assert "no order was lost" not in bad
    assert "&lt;17&gt;" in bad
    assert "<17>" not in bad


def test_tells_of_containers_what_is_true_of_them() -> None:
    data = sample()
    took, never = (
        replace(data, in_containers=True, figures=replace(data.figures, without_registry=seconds))
        for seconds in (2.94, None)
    )
    assert "passed in dev and staging" in render(data)
    assert "without the registry" not in render(data)
    for text in (render(took), render(never)):
        assert "passed in dev and staging" not in text
        assert "金丝雀站点" in text
        assert Page(text).open == []
    assert '<li class="good"><b>2.9 s</b><small><span lang="en">to be back on the first image' in render(took)
    assert '<li class="bad"><b>–</b>' in render(never)


def test_tells_of_a_restore_what_is_true_of_it() -> None:
    data = sample()
    back, never = (
        replace(
            data, restored=True, figures=replace(data.figures, data_back_after=took, closed=closed, carried=n)
        )
        for took, closed, n in ((1.62, 0.2, 1399), (None, None, 0))
    )
    assert "took two digits off" not in render(data)
    for text in (render(back), render(never)):
        assert "took two digits off" in text
        assert Page(text).open == []
    assert "<b>1399</b>" in render(back)
    assert '<li class="bad"><b>0</b>' in render(never)


def test_draws_each_site_with_its_marks() -> None:
    text = render(sample())
    assert text.count('class="curve"') == 3
    assert text.count('class="flag"') == 15
    assert text.count('class="broke"') == 3


def test_shows_what_never_happened_as_such() -> None:
    data = sample()
    bare = replace(
        data,
        figures=Figures(None, None, 0, 0, 0),
        curves=tuple(replace(curve, marks=(), points=()) for curve in data.curves),
        steps=(),
        seconds=0.0,
    )
    text = render(bare)
    assert text.count("<b>–</b>") == 2
    assert 'class="flag"' not in text


def test_rates_look_back_over_their_window() -> None:
    seen = [
        Seen(100 + n / 10, 0.05, "us", "checkout", 502 if 20 <= n < 30 and n % 2 else 201) for n in range(60)
    ]
    seen += [Seen(102.5, 0.0, "de", "checkout", 0), Seen(102.5, 0.0, "us", "browse", 500)]
    points = success_rates(seen, "us", 100, 106, step=1.0, window=1.0)
    assert [point.at for point in points] == [1, 2, 3, 4, 5, 6]
    assert [point.rate for point in points] == [1.0, 1.0, 0.5, 1.0, 1.0, 1.0]
    assert lowest(points) == 0.5
    assert sum(point.total for point in points) == 60
    assert success_rates([], "us", 100, 101)[0].rate is None
    assert lowest(success_rates([], "us", 100, 101)) is None
