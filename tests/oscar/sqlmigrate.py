"""What Django says of each migration of django-oscar: run in a process of its own, whose path has both.

``sqlmigrate.py HOST PORT DATABASE FILE``: walks through all migrations in Django's own order. For each it
asks for the SQL forward, runs that, and asks for the SQL backward: constraints are looked up in the database,
so it has to be where the migration finds it. The text is that of ``manage.py sqlmigrate``, by the calls that
it makes; one process for all, because each of 310 would load every model first.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

CONTRIBUTED = ("admin", "auth", "contenttypes", "sessions", "messages", "sites", "flatpages")
OWN = {
    "analytics": "Analytics", "checkout": "Checkout", "address": "Address", "shipping": "Shipping",
    "catalogue": "Catalogue", "catalogue.reviews": "CatalogueReviews", "communication": "Communication",
    "partner": "Partner", "basket": "Basket", "payment": "Payment", "offer": "Offer", "order": "Order",
    "customer": "Customer", "search": "Search", "voucher": "Voucher", "wishlists": "Wishlists",
}  # fmt: skip
APPS = [
    *(f"django.contrib.{app}" for app in CONTRIBUTED),
    *(f"oscar.apps.{place}.apps.{name}Config" for place, name in OWN.items()),
]
"""Everything that has tables; the dashboard has none."""


def prepare(host: str, port: str, database: str) -> None:
    import django
    from django.conf import settings
    from oscar import defaults

    where = {"ENGINE": "django.db.backends.postgresql", "HOST": host, "PORT": port, "NAME": database}
    settings.configure(
        **{name: getattr(defaults, name) for name in dir(defaults) if name.isupper()},
        INSTALLED_APPS=APPS,
        DATABASES={"default": {**where, "USER": "postgres"}},
        SECRET_KEY="none",
        SITE_ID=1,
        USE_TZ=True,
        HAYSTACK_CONNECTIONS={"default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}},
    )
    django.setup()


def walk() -> list[dict[str, Any]]:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor
    from django.db.migrations.state import ProjectState

    loader = MigrationExecutor(connection).loader
    plan = MigrationExecutor(connection).migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    state = ProjectState(real_apps=loader.unmigrated_apps)
    found = []
    for migration, _ in plan:
        before = state.clone()
        forward, state = collect(connection, migration, state, back=False)
        with connection.cursor() as cursor:
            for statement in forward:
                if not statement.startswith("--"):
                    cursor.execute(statement)
        backward, _ = collect(connection, migration, before, back=True)
        found.append(
            {
                "app": migration.app_label,
                "name": migration.name,
                "deploy": printed(forward),
                "revert": printed(backward),
                "columns": columns(connection, state, migration.app_label),
                "python": sum(type(o).__name__ == "RunPython" for o in migration.operations),
            }
        )
    return found


def collect(connection: Any, migration: Any, state: Any, *, back: bool) -> tuple[list[str], Any]:
    """As ``MigrationLoader.collect_sql`` does it; with a state that goes on, not one made anew each time."""
    with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
        act = migration.unapply if back else migration.apply
        state = act(state, editor, collect_sql=True)
    return editor.collected_sql, state


def printed(lines: list[str]) -> str:
    """As ``manage.py sqlmigrate`` prints it; one without any operation is "-- No operations" to it."""
    return "\n".join(["BEGIN;", *lines, "COMMIT;"]) + "\n" if lines else "-- No operations\n"


def columns(connection: Any, state: Any, app: str) -> dict[str, list[str]]:
    """Tables of one app with their columns, as Django's models have them now."""
    found: dict[str, list[str]] = {}
    for model in state.apps.get_app_config(app).get_models(include_auto_created=True):
        if model._meta.managed and not model._meta.proxy:
            found[model._meta.db_table] = [f.column for f in model._meta.local_concrete_fields]
    return found


if __name__ == "__main__":
    gc.disable()  # A third of the time otherwise: models refer to each other in circles.
    prepare(*sys.argv[1:4])
    Path(sys.argv[4]).write_text(json.dumps(walk()))
