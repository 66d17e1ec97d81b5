"""Templates compute text from values and do nothing else, and none goes on for ever."""

from __future__ import annotations

import resource
import time

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.estate import sandbox
from tests.estate.repositories import Repository

FILE = "services/web/templates/app.conf.j2"

NS = "{% set n = namespace(x=START) %}{% for a in range(60) %}{% set n.x = STEP %}{% endfor %}{{ n.x }}"


def growing(start: str, step: str) -> str:
    return NS.replace("START", start).replace("STEP", step)


ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "no ranges": "{% set t = [0] * 90000 %}{% for a in t %}{% for b in t %}{% endfor %}{% endfor %}",
    "large range": "{% for a in range(10000000000) %}x{% endfor %}",
    "recursive loop": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "recursive macro": "{% macro m(n) %}{% if n %}{{ m(n-1) ~ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "endless macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "includes itself": "{% include 'app.conf.j2' %}",
    "filters on lists": "{% set t = range(90000)|list %}{% for a in t %}{{ t|sort|length }}{% endfor %}",
    "membership": "{% set t = range(90000)|list %}{% for a in t %}{{ -1 in t }}{% endfor %}",
    "too much output": "{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
    "string times number": "{{ 'x' * 10000000000 }}",
    "list times number": "{{ ([0] * 10000000000)|length }}",
    "nested list times number": "{{ [['x' * 1000000] * 1000]|string|length }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "growing number": growing("9", "n.x * n.x"),
    "doubling with ~": growing("'x'", "n.x ~ n.x"),
    "doubling with +": growing("'x'", "n.x + n.x"),
    "doubling lists": growing("[1]", "n.x + n.x"),
    "doubling nests": growing("[1]", "[n.x, n.x]"),
    "doubling blocks": "{% set n = namespace(x='x') %}{% for a in range(60) %}"
    "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "wide center": "{{ 'x'|center(10000000000) }}",
    "wide ljust": "{{ 'x'.ljust(10000000000) }}",
    "wide zfill": "{{ '1'.zfill(10000000000) }}",
    "wide format": "{{ '{:>10000000000}'.format(1) }}",
    "wide percent": "{{ '%10000000000d' % 1 }}",
    "wide format filter": "{{ '%10000000000d'|format(1) }}",
    "computed width": "{{ '{:>{w}}'.format(1, w=10000000000) }}",
    "replace everything": "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
    "replace filter": "{{ ('x' * 1000000)|replace('x', 'y' * 1000000) }}",
    "wide separator": "{{ range(90000)|list|join('x' * 1000000) }}",
    "join method": "{{ ('x' * 1000000).join(['a'] * 90000) }}",
    "indent": "{{ ('\\n' * 1000000)|indent(9999) }}",
    "batch": "{{ [1]|batch(10000000000, 0)|list|length }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_that_would_not_end(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A twentieth of the real budget, which the next test but one spends: there are many of these.
    monkeypatch.setattr(sandbox, "STEPS", sandbox.STEPS // 20)
    repository.write({FILE: "first line\n" + ENDLESS[name] + "\n"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(InvalidInput) as caught:
        repository.render("web@prod/us")
    assert time.monotonic() - start < 25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024, "KiB of memory"
    assert "stopped" in str(caught.value.what) or "nested too deeply" in str(caught.value.what)
    assert caught.value.where in (f"{FILE}:1", f"{FILE}:2", FILE)


@pytest.mark.parametrize("name", ["app.conf.j2", "_part.j2"])
def test_a_template_that_takes_too_long_to_compile(repository: Repository, name: str) -> None:
    repository.write({FILE: "{% include '_part.j2' %}", "services/web/templates/_part.j2": "x"})
    repository.write({f"services/web/templates/{name}": "{{ values.port }}" * 70_000})
    with pytest.raises(InvalidInput, match=r"1048576|1 MiB"):
        repository.render("web@prod/us")


def test_a_setting_that_would_not_end(repository: Repository) -> None:
    text = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    repository.edit("services/web/service.yaml", "{{ values.port }}", text)
    with pytest.raises(InvalidInput, match="the template was stopped") as caught:
        repository.render("web@prod/us")
    assert caught.value.where == "services/web/service.yaml:5"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ values.__class__ }}",
        "{{ values['__class__'] }}",
        "{{ ''['__class__'] }}",
        "{{ values|attr('__class__') }}",
        "{{ (values.items|string).__init__.__globals__ }}",
        "{% for x in values.payment.update({'url': 'x'}) %}{% endfor %}",
        "{{ values.payment.pop('url') }}",
        "{{ values.payment.clear() }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ range.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ lipsum() }}",
        "{{ [1, 2]|random }}",
        "{% include '/etc/passwd' %}",
        "{% include '../values.yaml' %}",
        "{% include '../../other/templates/x.j2' %}",
        "{% import '../service.yaml' as x %}",
        "{% extends '/etc/passwd' %}",
        "{% include 'nowhere.j2' %}",
        "{{ self.__init__ }}",
        "{{ open('/etc/passwd') }}",
        "{{ config }}",
        "{% do values %}",
    ],
)
def test_what_a_template_may_not_do(repository: Repository, text: str) -> None:
    repository.write({FILE: text + "\n", "services/other/templates/x.j2": "no\n"})
    with pytest.raises(InvalidInput) as caught:
        repository.render("web@prod/us")
    assert caught.value.where.startswith(FILE)
    assert "root:" not in str(caught.value)


def test_settings_can_include_nothing(repository: Repository) -> None:
    repository.edit("services/web/service.yaml", "{{ values.port }}", "{% include 'app.conf.j2' %}")
    with pytest.raises(InvalidInput, match="outside the templates folder"):
        repository.render("web@prod/us")


def test_secrets_are_not_for_templates(repository: Repository) -> None:
    repository.write({FILE: "a\nkey={{ secrets.PAYMENT_KEY }}\n"})
    with pytest.raises(InvalidInput, match="a template can't use secrets") as caught:
        repository.render("web@prod/us")
    assert caught.value.where == f"{FILE}:2"
    assert "environment variable" in str(caught.value.todo)


@pytest.mark.parametrize(
    ("text", "what", "line", "todo"),
    [
        (
            "a\n{{ values.payment.urll }}",
            "no value for 'payment.urll' in web@prod/us",
            2,
            "services/web/values.yaml",
        ),
        ("{{ value.port }}", "no variable 'value'", 1, "Did you mean 'values'?"),
        ("{% if x %}{% endif %}", "no variable 'x'", 1, "environment"),
        ("a\nb\n{{ values.port / 0 }}", "ZeroDivisionError", 3, "Mend the expression"),
        ("{% for x in values.port %}{% endfor %}", "TypeError", 1, "Mend the expression"),
        ("a\n{% if %}", "can't be read", 2, "Mend"),
        ("{{ values.port | nonsense }}", "can't be read", 1, "Mend"),
        ("{{ values.port", "can't be read", 1, "Mend"),
    ],
)
def test_mistakes_name_line_and_mend(
    repository: Repository, text: str, what: str, line: int, todo: str
) -> None:
    repository.write({FILE: text})
    with pytest.raises(InvalidInput) as caught:
        repository.render("web@prod/us")
    assert what in str(caught.value.what)
    assert caught.value.where == f"{FILE}:{line}"
    assert todo in str(caught.value.todo)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ values.none | default('x') }}", "x"),
        ("{{ values.none is defined }}", "False"),
        (
            "{% for k, v in values.payment | dictsort %}{{ k }}={{ v }};{% endfor %}",
            "timeout=5;url=https://pay.example;",
        ),
        ("{% for k in values.payment.keys() %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/2 2/2 "),
        ("{{ values.payment | tojson }}", '{"timeout": 5, "url": "https://pay.example"}'),
        ("{{ values.port + 1 }} {{ '%05d' % values.port }} {{ 'a' ~ 1 ~ none }}", "8001 08000 a1None"),
        (
            "{{ '{}:{}'.format('h', 1) }} {{ ['a', 'b'] | join(',') }} {{ 'a b' | replace(' ', '_') }}",
            "h:1 a,b a_b",
        ),
        (
            "{% set n = namespace(t=0) %}{% for i in range(5) %}{% set n.t = n.t + i %}{% endfor %}{{ n.t }}",
            "10",
        ),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(site) | upper }}", "<US>"),
        ("{{ [3, 1, 2] | sort | list }} {{ 'x' if values.port > 1 else 'y' }}", "[1, 2, 3] x"),
        ("{{ values.shop.items }}", "goods"),
        ("a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc\n"),
        ("{% for i in range(50000) %}{{ i }},{% endfor %}", "".join(f"{i}," for i in range(50000))),
    ],
)
def test_what_templates_are_for(repository: Repository, text: str, expected: str) -> None:
    repository.write({FILE: text})
    repository.edit("services/web/values.yaml", "title: Shop", "title: Shop, items: goods")
    rendered = repository.render("web@prod/us")
    assert rendered.contents[rendered.release.files[0].content].decode() == expected


def test_values_are_the_same_after_rendering(repository: Repository) -> None:
    repository.write(
        {FILE: "{% set x = values.payment %}{% set x = 1 %}{{ values.list | sort | reverse | list }}"}
    )
    repository.edit("services/web/values.yaml", "port: 8000", "port: 8000\nlist: [3, 1, 2]")
    estate = repository.estate()
    unit = estate.units()[0]
    first = estate.render(unit)
    assert estate.render(unit).release == first.release
    assert estate.explain(unit, "list").value == [3, 1, 2]
