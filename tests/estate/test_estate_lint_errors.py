"""Each single mistake is found where it stands, with its mend."""

from __future__ import annotations

import pytest

from tests.estate.changes import (
    DATABASE,
    MIGRATIONS,
    SERVICE,
    Change,
    as_text,
    edit,
    problems_of,
    remove,
    write,
)
from tests.estate.repositories import Repository

# name: (change, file, line, what, mend)
ERRORS: dict[str, tuple[Change, str, int, str, str]] = {
    "unknown key": (
        edit(SERVICE, "description:", "descripton:"),
        SERVICE,
        2,
        "no setting 'descripton'",
        "mean 'description'?",
    ),
    "unknown key below": (
        edit(SERVICE, "stop_grace", "stop_grade"),
        SERVICE,
        12,
        "'roles.web' has no setting",
        "mean 'stop_grace'?",
    ),
    "unknown role": (
        edit(SERVICE, "  worker:", "  wroker:"),
        SERVICE,
        13,
        "no setting 'wroker'",
        "mean 'worker'?",
    ),
    "two web roles": (edit(SERVICE, "  worker:", "  web:"), SERVICE, 13, "'web' is there twice", "Remove"),
    "required key": (edit(SERVICE, "owner: shop-team\n", ""), SERVICE, 1, "has no 'owner'", "Add 'owner'"),
    "wrong type": (
        edit(SERVICE, 'command: [python3, "{artifact}/app.py", worker]', "command: run"),
        SERVICE,
        14,
        "'roles.worker.command' must be a list, not a text",
        "Write it so",
    ),
    "no command": (
        edit(SERVICE, '    command: [python3, "{artifact}/app.py", worker]', "    replicas: 2"),
        SERVICE,
        13,
        "the role 'worker' has no command",
        "Only an image",
    ),
    "two processes of a role": (
        edit(
            SERVICE,
            '    command: [python3, "{artifact}/app.py", worker]',
            "    command: [x]\n    replicas: 2",
        ),
        SERVICE,
        15,
        "the driver 'process' runs one instance of a role, not 2",
        "driver docker",
    ),
    "artifact and image": (
        edit(SERVICE, "owner:", 'image: "registry.example.com/shop/web:1"\nowner:'),
        SERVICE,
        1,
        "both an artifact and an image",
        "Remove one",
    ),
    "canary that shrinks": (
        edit(
            SERVICE,
            "owner:",
            "canary: [{percent: 25, watch: 5s}, {percent: 5, watch: 5s}]\nowner:",
        ),
        SERVICE,
        1,
        "takes a larger share",
        "for example 5, 25, 50",
    ),
    "duration": (
        edit(SERVICE, "guard: 10m", "guard: 10 min"),
        SERVICE,
        26,
        "'windows.guard' is not valid",
        "500ms",
    ),
    "kind of signal": (
        edit(SERVICE, "kind: gauge", "kind: count"),
        SERVICE,
        21,
        "one of: ratio, gauge",
        "Choose",
    ),
    "secret with both": (
        edit(SERVICE, "{env: PAYMENT_KEY}", "{env: A, file: /b}"),
        SERVICE,
        16,
        "'secrets.PAYMENT_KEY' is not valid",
        "Exactly one",
    ),
    "secret with neither": (
        edit(SERVICE, "{env: PAYMENT_KEY}", "{}"),
        SERVICE,
        16,
        "'secrets.PAYMENT_KEY' is not valid",
        "Exactly one",
    ),
    "secret by value": (
        edit(SERVICE, "{env: PAYMENT_KEY}", "sk-live-1"),
        SERVICE,
        16,
        "must be a mapping, not a text",
        "one of env",
    ),
    "secret's variable": (
        edit(SERVICE, "{env: PAYMENT_KEY}", "{env: sk-live-1}"),
        SERVICE,
        16,
        "is not a variable's name",
        "never stands",
    ),
    "secret's file": (
        edit(SERVICE, "{env: PAYMENT_KEY}", "{file: key.txt}"),
        SERVICE,
        16,
        "not an absolute path",
        "outside Git",
    ),
    "secret's name": (
        edit(SERVICE, "  PAYMENT_KEY:", "  PAYMENT-KEY:"),
        SERVICE,
        16,
        "'PAYMENT-KEY' is not a name",
        "underscores",
    ),
    "no such signal": (
        edit(SERVICE, "signal: orders", "signal: order"),
        SERVICE,
        23,
        "no signal 'order'",
        "mean 'orders'?",
    ),
    "limit of a ratio": (edit(SERVICE, "limit: 0.97", "limit: 97"), SERVICE, 23, "share of good", "0.97"),
    "no such database": (
        edit(SERVICE, "databases: [shop]", "databases: [shpo]"),
        SERVICE,
        6,
        "no database 'shpo'",
        "mean 'shop'?",
    ),
    "signal's database": (
        edit(SERVICE, "database: shop", "database: other"),
        SERVICE,
        19,
        "asks the database 'other'",
        "shop",
    ),
    "signal's driver": (
        edit(SERVICE, "driver: postgresql", "driver: mariadb"),
        SERVICE,
        19,
        "served by 'postgresql'",
        "postgresql",
    ),
    "canary without criteria": (
        edit(
            SERVICE,
            """\
criteria:
  orders: {signal: orders, limit: 0.97, window: 5s, least_sample: 20}
  errors: {signal: errors, limit: 0.9}
  probe: {signal: probe, limit: 1.5, window: 2}
""",
            "canary: [{percent: 5, watch: 1m}]\n",
        ),
        SERVICE,
        22,
        "canary steps but no criteria",
        "what good means",
    ),
    "shares that don't grow": (
        edit(SERVICE, "criteria:", "canary: [{percent: 25, watch: 1m}, {percent: 5, watch: 1m}]\ncriteria:"),
        SERVICE,
        22,
        "a larger share than the one before",
        "Sort them",
    ),
    "undeclared user": (edit(DATABASE, "[web]", "[]"), SERVICE, 6, "which does not list it", "Add 'web'"),
    "user that is none": (
        edit(DATABASE, "[web]", "[web, wbe]"),
        DATABASE,
        6,
        "no service 'wbe'",
        "mean 'web'?",
    ),
    "password in the url": (
        edit(DATABASE, "app@db", "app:hunter2@db"),
        DATABASE,
        3,
        "holds a password",
        "name a secret",
    ),
    "database with values": (
        edit(DATABASE, "{{ site }}", "{{ values.port }}"),
        DATABASE,
        3,
        "can't use 'values'",
        "environment, site",
    ),
    "scope": (
        edit(DATABASE, "scope: site", "scope: world"),
        DATABASE,
        2,
        "one of: site, environment",
        "Choose",
    ),
    "no database.yaml": (
        remove(DATABASE),
        "databases/shop/",
        0,
        "has no database.yaml",
        "Add databases/shop",
    ),
    "no service.yaml": (
        write("services/api/values.yaml", "a: 1\n"),
        "services/api/",
        0,
        "no service.yaml",
        "Add",
    ),
    "service's folder": (
        write("services/Web_2/service.yaml", "owner: x\n"),
        "services/Web_2/",
        0,
        "'Web_2' is not a name",
        "Rename",
    ),
    "missing revert": (
        remove(f"{MIGRATIONS}/0001_orders/revert.sql"),
        f"{MIGRATIONS}/0001_orders/revert.sql",
        0,
        "no revert.sql",
        "triple",
    ),
    "empty revert": (
        write(f"{MIGRATIONS}/0001_orders/revert.sql", "-- nothing\n/* at\nall */ ;\n"),
        f"{MIGRATIONS}/0001_orders/revert.sql",
        1,
        "revert.sql of the migration '0001_orders' is empty",
        "no way back",
    ),
    "missing deploy": (
        remove(f"{MIGRATIONS}/0001_orders/deploy.sql"),
        f"{MIGRATIONS}/0001_orders/deploy.sql",
        0,
        "no deploy.sql",
        "triple",
    ),
    "migration's name": (
        write(f"{MIGRATIONS}/next/deploy.sql", "select 1;"),
        f"{MIGRATIONS}/next",
        0,
        "not the name of a migration",
        "0001_create_orders",
    ),
    "site may not differ": (
        write("services/web/sites/us.yaml", "payment: {timeout: 9}\n"),
        "services/web/sites/us.yaml",
        1,
        "site 'us' may not differ in 'payment.timeout'",
        "may_differ",
    ),
    "site may not differ in one environment": (
        write("services/web/environments/dev/us.yaml", "payment:\n  timeout: 9\n"),
        "services/web/environments/dev/us.yaml",
        2,
        "may not differ in 'payment.timeout'",
        "may_differ",
    ),
    "layer of no site": (
        write("services/web/sites/uk.yaml", "port: 1\n"),
        "services/web/sites/uk.yaml",
        0,
        "no site 'uk'",
        "us",
    ),
    "layer of no environment": (
        write("services/web/environments/prdo.yaml", "port: 1\n"),
        "services/web/environments/prdo.yaml",
        0,
        "no environment 'prdo'",
        "mean 'prod'?",
    ),
    "layer of no unit's site": (
        write("services/web/environments/prod/fr.yaml", "port: 1\n"),
        "services/web/environments/prod/fr.yaml",
        0,
        "no site 'fr'",
        "",
    ),
    "layer ending in yml": (
        write("services/web/sites/us.yml", "port: 1\n"),
        "services/web/sites/us.yml",
        0,
        "ends in .yml",
        "Rename",
    ),
    "undefined variable": (
        write("services/web/templates/x.j2", "a\n{{ values.prot }}\n"),
        "services/web/templates/x.j2",
        2,
        "no value for 'prot' in web@dev/us",
        "values.yaml",
    ),
    "undefined in one unit": (
        edit(SERVICE, "{{ region }}", "{% if site == 'de' %}{{ values.x }}{% endif %}"),
        SERVICE,
        10,
        "no value for 'x' in web@prod/de",
        "values.yaml",
    ),
    "two templates, one file": (
        write("services/web/templates/app.conf", "x"),
        "services/web/templates/app.conf.j2",
        0,
        "two templates make the file 'app.conf'",
        "Rename",
    ),
    "template of an unused signal": (
        edit(SERVICE, "  probe: {signal: probe, limit: 1.5, window: 2}\n", "  # {{ ignored }}\n"),
        SERVICE,
        21,
        "no criterion uses the signal 'probe'",
        "Add a criterion",
    ),
    "restricted to no site": (
        edit(SERVICE, "may_differ", "sites: [us, ed]\nmay_differ"),
        SERVICE,
        17,
        "no site 'ed'",
        "Known here: de, us.",
    ),
    "traffic without web": (
        edit(SERVICE, "  web:\n", "  scheduler:\n"),
        SERVICE,
        5,
        "no role 'web' to take it",
        "Add roles.web",
    ),
    "environment twice": (
        edit("lastgood.yaml", "  - name: prod", "  - name: dev"),
        "lastgood.yaml",
        4,
        "'dev' is declared twice",
        "",
    ),
    "site of no environment": (
        edit("lastgood.yaml", "[prod]", "[pord]"),
        "lastgood.yaml",
        10,
        "no environment 'pord'",
        "mean 'prod'?",
    ),
    "unknown key at the top": (
        edit("lastgood.yaml", "drivers:\n  files", "driver:\n  files"),
        "lastgood.yaml",
        11,
        "no setting 'driver'",
        "mean 'drivers'?",
    ),
    "name of a site": (
        edit("lastgood.yaml", "  de:", "  De:"),
        "lastgood.yaml",
        10,
        "'De' is not a name",
        "Lower-case",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_found(repository: Repository, name: str) -> None:
    change, path, line, what, mend = ERRORS[name]
    change(repository)
    found = problems_of(repository)
    matching = [p for p in found if (p.path, p.line) == (path, line) and what in str(p.what)]
    assert len(matching) == 1, as_text(found)
    assert mend in str(matching[0].mend)
    assert str(matching[0].mend)
    for secret in ("hunter2", "sk-live-1"):
        assert secret not in as_text(found)
