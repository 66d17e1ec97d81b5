"""What an estate declares of changes over many units."""

from __future__ import annotations

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.domain.wave import Wait, WavePolicy
from tests.estate.changes import SERVICE, Change, as_text, edit, problems_of, write
from tests.estate.repositories import Repository

ROOT = "lastgood.yaml"
OTHER = "services/api/service.yaml"


def api(more: str) -> Change:
    return write(OTHER, f"owner: api-team\n{more}\n")


def test_without_a_word_a_change_goes_by_quarters(repository: Repository) -> None:
    assert repository.estate().waves("prod") == WavePolicy("", 0, 0.25, 4, Wait.WATCH, 0.0)
    assert repository.estate().needs() == {"web": ()}
    with pytest.raises(InvalidInput, match="prud"):
        repository.estate().waves("prud")


def test_an_environment_differs_in_what_it_names(repository: Repository) -> None:
    top = "waves: {canary: us, size: 2, concurrency: 3, wait: guard, pause: 1m}\n"
    repository.edit(ROOT, "drivers:\n  files", top + "drivers:\n  files")
    repository.edit(ROOT, "  - name: prod\n", "  - name: prod\n    waves: {canary: de, size: 10%}\n")
    api("environments: [dev]\nneeds: [web]")(repository)
    assert repository.lint() == []
    estate = repository.estate()
    assert estate.waves("dev") == WavePolicy("us", 2, 0.25, 3, Wait.GUARD, 60.0)
    waves = estate.waves("prod")
    assert (waves.canary, waves.share, waves.wait) == ("de", 0.1, Wait.GUARD)
    assert estate.needs() == {"api": ("web",), "web": ()}


def test_a_share_given_where_a_number_was_declared_wins(repository: Repository) -> None:
    repository.edit(ROOT, "drivers:\n  files", "waves: {size: 5}\ndrivers:\n  files")
    repository.edit(ROOT, "  - name: prod\n", "  - name: prod\n    waves: {size: 50%}\n")
    assert (repository.estate().waves("prod").size, repository.estate().waves("prod").share) == (0, 0.5)


MISTAKES: dict[str, tuple[list[Change], str, int, str, str]] = {
    "canary": (
        [edit(ROOT, "sites:", "waves: {canary: eu}\nsites:")], ROOT, 8, "no site 'eu'", "Known here: de, us."
    ),
    "canary elsewhere": (
        [edit(ROOT, "  - name: dev", "  - name: dev\n    waves: {canary: de}")],
        ROOT, 4, "'de' does not exist in the environment 'dev'", "of this environment",
    ),
    "size": (
        [edit(ROOT, "sites:", "waves: {size: 0}\nsites:")], ROOT, 8, "'waves.size' is not valid", "25%"
    ),
    "share": (
        [edit(ROOT, "sites:", "waves: {size: 120%}\nsites:")], ROOT, 8, "'waves.size' is not valid", "25%"
    ),
    "wait": (
        [edit(ROOT, "sites:", "waves: {wait: verdict}\nsites:")], ROOT, 8, "one of: watch, guard", "Choose"
    ),
    "key": (
        [edit(ROOT, "sites:", "waves: {canry: us}\nsites:")], ROOT, 8, "no setting 'canry'", "'canary'"
    ),
    "unknown service": (
        [edit(SERVICE, "may_differ", "needs: [wep]\nmay_differ")], SERVICE, 17, "no service 'wep'", "'web'?"
    ),
    "itself": (
        [edit(SERVICE, "may_differ", "needs: [web]\nmay_differ")],
        SERVICE, 17, "in a circle: web → web", "Remove one",
    ),
    "a circle of two": (
        [api("needs: [web]"), edit(SERVICE, "may_differ", "needs: [api]\nmay_differ")],
        OTHER, 2, "in a circle: api → web → api", "Remove one",
    ),
    "never beside it": (
        [api("environments: [dev]\nsites: [us]\nneeds: [web]"),
         edit(SERVICE, "may_differ", "environments: [prod]\nmay_differ")],
        OTHER, 4, "'web' runs nowhere beside this service", "Remove it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_once(repository: Repository, name: str) -> None:
    changes, path, line, what, mend = MISTAKES[name]
    for change in changes:
        change(repository)
    found = problems_of(repository)
    matching = [p for p in found if (p.path, p.line) == (path, line) and what in str(p.what)]
    assert len(matching) == 1, as_text(found)
    assert mend in str(matching[0].mend), as_text(matching)
    if "circle" in what:
        assert len([p for p in found if "circle" in str(p.what)]) == 1, as_text(found)
