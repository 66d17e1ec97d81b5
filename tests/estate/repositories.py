"""Real Git repositories with small estates."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lastgood.domain.unit import UnitId
from lastgood.estate.reader import GitEstate, GitEstateReader
from lastgood.ports.estate import Problem, Rendered

CLEAN = {
    "lastgood.yaml": """\
name: shop
environments:
  - name: dev
  - name: prod
    criteria_required: true
    drivers:
      caddy: {admin: "http://127.0.0.1:3000"}
sites:
  us: {platform: own, region: us-east}
  de: {platform: amazon, environments: [prod]}
drivers:
  files: {root: /srv/files}
  process: {root: /srv/process}
  caddy: {admin: "http://127.0.0.1:2019", pointers: /srv/pointers}
  postgresql: {lock_timeout: 2}
""",
    "services/web/service.yaml": """\
owner: shop-team
description: The shop.
artifact: {path: app}
runtime: process
traffic: {driver: caddy, listen: "127.0.0.1:{{ values.port }}"}
databases: [shop]
roles:
  web:
    command: [python3, "{artifact}/app.py", "{port}"]
    environment: {REGION: "{{ region }}", WORKERS: 2}
    ready: {path: /healthz, timeout: 500ms}
    stop_grace: 1m
  worker:
    command: [python3, "{artifact}/app.py", worker]
secrets:
  PAYMENT_KEY: {env: PAYMENT_KEY}
may_differ: [port, shop.*]
signals:
  orders: {kind: ratio, driver: postgresql, database: shop, query: "select 1"}
  errors: {kind: ratio, driver: caddy}
  probe: {kind: gauge, driver: http, path: /healthz}
criteria:
  orders: {signal: orders, limit: 0.97, window: 5s, least_sample: 20}
  errors: {signal: errors, limit: 0.9}
  probe: {signal: probe, limit: 1.5, window: 2}
windows: {watch: 1.5, guard: 10m, verify: 10s, recovery: 1h}
""",
    "services/web/values.yaml": """\
port: 8000
shop: {currency: USD, title: Shop}
payment:
  url: https://pay.example
  timeout: 3
""",
    "services/web/environments/prod.yaml": "payment: {timeout: 5}\n",
    "services/web/sites/de.yaml": "shop: {currency: EUR}\n",
    "services/web/environments/prod/de.yaml": "port: 9000\n",
    "services/web/templates/app.conf.j2": """\
port={{ values.port }}
currency={{ values.shop.currency }} title={{ values.shop.title }}
pay={{ values.payment.url }} {{ values.payment.timeout }}
unit={{ service }}@{{ environment }}/{{ site }} {{ estate }} {{ platform }}
""",
    "services/web/templates/static/robots.txt": "{{ not a template }}\n",
    "services/web/app/app.py": "print('hello')\n",
    "services/web/app/lib/part.py": "X = 1\n",
    "services/web/README.md": "For people.\n",
    "databases/shop/database.yaml": """\
driver: postgresql
scope: site
url: "postgresql://app@db/shop_{{ environment }}_{{ site }}"
password: {file: /run/secrets/shop}
owner: shop-team
users: [web]
""",
    "databases/shop/journey.sql": "insert into orders select coalesce(max(id), 0) + 1 from orders;\n",
    "databases/shop/migrations/0001_orders/deploy.sql": "create table orders (id int);\n",
    "databases/shop/migrations/0001_orders/verify.sql": "select id from orders where false;\n",
    "databases/shop/migrations/0001_orders/revert.sql": "drop table orders;\n",
}


class Repository:
    """A Git repository in a directory of the test's own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        done = subprocess.run(
            ("git", *identity, *arguments),
            cwd=self.root,
            input=stdin,
            check=True,
            capture_output=True,
            env=environment,
        )
        return done.stdout.decode().strip()

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for path, content in files.items():
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))

    def commit(self) -> str:
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    @property
    def reader(self) -> GitEstateReader:
        return GitEstateReader(self.root)

    def estate(self) -> GitEstate:
        """What lies in the working tree."""
        return self.reader.worktree()

    def render(self, unit: str) -> Rendered:
        return self.estate().render(UnitId.parse(unit))

    def lint(self) -> list[Problem]:
        return list(self.estate().lint())
