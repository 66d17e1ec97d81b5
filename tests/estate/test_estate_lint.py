"""Every mistake in one pass, each with file, line and mend."""

from __future__ import annotations

import pytest

from tests.estate.changes import (
    DATABASE,
    MIGRATIONS,
    SERVICE,
    VALUES,
    Change,
    as_text,
    edit,
    write,
)
from tests.estate.repositories import Repository

NO_EXPRESSION = "Expected an expression, got 'end of statement block'"


def test_a_clean_estate_has_no_problem(repository: Repository) -> None:
    assert repository.lint() == []
    assert repository.reader.at("HEAD").lint() == []


def test_criteria_are_required_where_the_environment_says_so(repository: Repository) -> None:
    text = (repository.root / SERVICE).read_text()
    begin, end = text.index("signals:"), text.index("windows:")
    repository.write({SERVICE: text[:begin] + text[end:]})
    assert [(p.path, p.line, str(p.what)) for p in repository.lint()] == [
        (SERVICE, 1, "the service has no criteria, but the environment 'prod' requires them")
    ]


def test_migrations_out_of_order(repository: Repository) -> None:
    for name in ("0001_again", "00002_more", "0003_last"):
        for script in ("deploy", "verify", "revert"):
            repository.write({f"{MIGRATIONS}/{name}/{script}.sql": "select 1;\n"})
    found = {str(p.what) for p in repository.lint() if p.severity == "error"}
    assert found == {
        "the migrations '00002_more' and '0001_again' are out of order",
        "the migrations '0001_again' and '0001_orders' are out of order",
    }


WARNINGS: dict[str, tuple[Change, str, int, str]] = {
    "unused key": (edit(VALUES, "port:", "prot: 1\nport:"), VALUES, 1, "nothing uses the key 'prot'"),
    "unused nested key": (
        edit(VALUES, "  timeout: 3", "  timeout: 3\n  retries: 2"),
        VALUES,
        6,
        "'payment.retries'",
    ),
    "password": (edit(VALUES, "port:", "db_password: hunter2\nport:"), VALUES, 1, "looks like a secret"),
    "token in a url": (edit(VALUES, "https://", "https://a:hunter2@"), VALUES, 4, "looks like a secret"),
    "password of a role": (
        edit(SERVICE, "WORKERS: 2", "API_KEY: hunter2"),
        SERVICE,
        10,
        "'roles.web.environment.API_KEY' looks like",
    ),
    "unread file": (
        write("services/web/notes.ini", "x"),
        "services/web/notes.ini",
        0,
        "nothing reads this file",
    ),
    "unread script": (
        write(f"{MIGRATIONS}/0001_orders/redo.sql", "x"),
        f"{MIGRATIONS}/0001_orders/redo.sql",
        0,
        "nothing reads",
    ),
    "listed, not a user": (
        edit(SERVICE, "databases: [shop]", "databases: []"),
        DATABASE,
        6,
        "listed as a user but does not use",
    ),
    "runs nowhere": (
        edit(SERVICE, "may_differ", "environments: [dev]\nsites: [de]\nmay_differ"),
        SERVICE,
        1,
        "runs nowhere",
    ),
    "ready of a worker": (
        edit(SERVICE, "worker]\n", "worker]\n    ready: {path: /x}\n"),
        SERVICE,
        15,
        "only the role 'web' is asked",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning(repository: Repository, name: str) -> None:
    change, path, line, what = WARNINGS[name]
    change(repository)
    found = repository.lint()
    matching = [p for p in found if p.path == path and p.line == line and what in str(p.what)]
    assert [p.severity for p in matching] == ["warning"], as_text(found)
    assert "hunter2" not in as_text(found)


def test_every_mistake_in_one_pass(repository: Repository) -> None:
    repository.edit(SERVICE, "signal: orders", "signal: order")
    repository.edit(SERVICE, "databases: [shop]", "databases: [shop, none]")
    repository.write(
        {
            "services/web/templates/a.j2": "{{ values.one }}\n{{ values.two }}{{ values.two }}\n",
            "services/web/templates/b.j2": "{% if values.three %}x{% endif %}\n{{ 1 / 0 }}\n",
            "services/web/templates/c.j2": "{% if %}",
            "services/web/sites/us.yaml": "payment: {timeout: 1}\nport: 1\nport: 2\n",
            "services/api/service.yaml": "descripton: x\nroles: {web: {replicas: 0}}\n",
            "services/bad/service.yaml": "owner: [\n",
            f"{MIGRATIONS}/0002_more/deploy.sql": "select 1;",
        }
    )
    found = [(p.path.removeprefix("services/"), p.line, str(p.what)) for p in repository.lint()]
    assert found == [
        (f"{MIGRATIONS}/0002_more/revert.sql", 0, "the migration '0002_more' has no revert.sql"),
        (f"{MIGRATIONS}/0002_more/verify.sql", 0, "the migration '0002_more' has no verify.sql"),
        ("api/service.yaml", 1, "'services/api/service.yaml' has no 'owner'"),
        ("api/service.yaml", 1, "there is no setting 'descripton'"),
        ("api/service.yaml", 2, "'roles.web.replicas' is not valid (minimum: 1)"),
        ("bad/service.yaml", 2, "this is not YAML: expected the node content, but found '<stream end>'"),
        ("web/service.yaml", 6, "there is no database 'none'"),
        ("web/service.yaml", 19, "no criterion uses the signal 'orders'"),
        ("web/service.yaml", 23, "there is no signal 'order'"),
        ("web/sites/us.yaml", 3, "the key 'port' is there twice (first in line 2)"),
        ("web/templates/a.j2", 1, "no value for 'one' in web@prod/de"),
        ("web/templates/a.j2", 2, "no value for 'two' in web@prod/de"),
        ("web/templates/b.j2", 1, "no value for 'three' in web@prod/de"),
        ("web/templates/b.j2", 2, "the template fails in web@prod/de: ZeroDivisionError: division by zero"),
        ("web/templates/c.j2", 1, f"this template can't be read: {NO_EXPRESSION}"),
    ]


def test_all_missing_values_of_all_templates(repository: Repository) -> None:
    repository.write(
        {
            "services/web/templates/a.j2": "{{ values.one }}\n{{ values.two }}{{ values.two }}\n",
            "services/web/templates/b.j2": "{% if values.payment.three %}x{% endif %}\n{{ values.four.x }}\n",
            "services/web/templates/c.j2": "{{ 1 / 0 }}\n",
            "services/web/templates/d.j2": "{% if %}",
        }
    )
    repository.edit(SERVICE, "{{ region }}", "{{ values.six }}")
    found = [(p.path.rpartition("/")[2], p.line, str(p.what)) for p in repository.lint()]
    assert found == [
        ("service.yaml", 10, "no value for 'six' in web@dev/us"),
        ("a.j2", 1, "no value for 'one' in web@dev/us"),
        ("a.j2", 2, "no value for 'two' in web@dev/us"),
        ("b.j2", 1, "no value for 'payment.three' in web@dev/us"),
        ("b.j2", 2, "no value for 'four' in web@dev/us"),
        ("c.j2", 1, "the template fails in web@dev/us: ZeroDivisionError: division by zero"),
        ("d.j2", 1, f"this template can't be read: {NO_EXPRESSION}"),
    ]


def test_a_key_may_be_used_as_a_whole(repository: Repository) -> None:
    repository.edit(VALUES, "port: 8000", "port: 8000\nextra: {a: 1, b: {c: 2}}\nmore: 1")
    repository.write({"services/web/templates/x.j2": "{% for k in values.extra %}{{ k }}{% endfor %}\n"})
    assert [str(p.what) for p in repository.lint()] == ["nothing uses the key 'more'"]
    repository.write({"services/web/templates/y.j2": "{{ values | tojson }}\n"})
    assert repository.lint() == []


def test_the_image_and_its_registry_use_values_too(repository: Repository) -> None:
    repository.edit(VALUES, "port: 8000", 'port: 8000\nrelease: "1.4"\nca: /etc/ca.pem')
    repository.edit(
        SERVICE,
        "artifact: {path: app}",
        'image: "registry.example.com/web:{{ values.release }}"\n'
        'registry: {driver: registry, ca: "{{ values.ca }}"}',
    )
    assert "nothing uses the key" not in as_text(repository.lint())
    repository.edit(SERVICE, "{{ values.release }}", "{{ values.relase }}")
    assert "relase" in as_text(repository.lint())


def test_what_a_site_sets_equal_is_no_difference(repository: Repository) -> None:
    repository.write({"services/web/sites/us.yaml": "payment: {url: https://pay.example}\n"})
    assert repository.lint() == []
