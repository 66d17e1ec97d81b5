"""The shop's estate: a Git repository with a good commit, and then a bad one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import Template

from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId

HERE = Path(__file__).parent
SERVICE = "storefront"
UNITS = tuple(
    UnitId(SERVICE, *at)
    for at in (("dev", "us"), ("staging", "us"), ("prod", "us"), ("prod", "de"), ("prod", "jp"))
)
SITES = tuple(unit for unit in UNITS if unit.environment == "prod")
"""Where the shop with containers opens."""
SECOND = Path("databases/shop/migrations/0002_gift_notes")
POSTGRESQL, MARIADB = "postgresql", "mariadb"
"""Drivers of the shop's databases: what is written otherwise for one of them lies in a folder of its name."""
WINDOWS = {"watch": "4s", "guard": "6s", "verify": "4s"}


def database_name(unit: UnitId) -> str:
    """Each environment and site has a database of its own."""
    return f"shop_{unit.environment}_{unit.site}"


def write_estate(
    directory: Path,
    *,
    database_url_base: str,
    caddy_admin: str,
    pointers_dir: Path,
    files_root: Path,
    process_root: Path,
    ports: Mapping[UnitId, int],
    python: str,
    windows: Mapping[str, str] | None = None,
    payment_key_file: Path | None = None,
    database: str = POSTGRESQL,
) -> None:
    """Make the repository and its files; nothing is committed yet.

    ``database_url_base`` is a URL without a database; ``ports`` says where customers reach each unit;
    ``windows`` may hold other durations for watch, guard and verify. The payment key is read from
    ``payment_key_file``, else from SHOP_PAYMENT_KEY. ``database`` is the driver of the shop's databases.
    Raises DriverError when git fails.
    """
    given = {
        "database_url_base": database_url_base,
        "caddy_admin": caddy_admin,
        "pointers_dir": str(pointers_dir),
        "files_root": str(files_root),
        "process_root": str(process_root),
        "python": python,
        **(windows or {}),
    }
    write_files(directory, "processes", given, ports, payment_key_file, database)
    _copy_shop(HERE / "shop", directory)


def write_files(
    directory: Path,
    runtime: str,
    settings: Mapping[str, str],
    ports: Mapping[UnitId, int],
    payment_key_file: Path | None,
    database: str = POSTGRESQL,
) -> None:
    """Say how the shop runs, in ``processes`` or in ``containers``, with ``settings`` filled in."""
    directory.mkdir(parents=True, exist_ok=True)
    secret = f"file: {json.dumps(str(payment_key_file))}" if payment_key_file else "env: SHOP_PAYMENT_KEY"
    # Inside a quoted YAML text the escapes are JSON's.
    texts = {key: json.dumps(value)[1:-1] for key, value in {**WINDOWS, **settings}.items()}
    texts |= {"payment_key": secret, "database_driver": database}
    for folder in ("first", f"{runtime}/first", f"{database}/first"):
        for source, target in _files(HERE / "estate_files" / folder, directory):
            text = source.read_text(encoding="utf-8")
            _write(target, Template(text).substitute(texts) if source.suffix == ".yaml" else text)
    values = directory / "services" / SERVICE / "environments"
    for unit, port in ports.items():
        _write(values / unit.environment / f"{unit.site}.yaml", f"port: {port}\n")
    if not (directory / ".git").exists():
        _git(directory, "init", "-q", "-b", "main")


def commit_good(directory: Path) -> str:
    """Commit what ``write_estate`` wrote; returns the commit. The same again when it is committed already."""
    return commit(directory, "Open the shop: three environments, three sites")


def commit_bad(directory: Path, database: str = POSTGRESQL) -> str:
    """Commit release 2: code, a payment setting for prod and a schema change, all lint clean.

    It starts healthy; where the setting is in force one checkout in five fails. Returns the commit.
    """
    add_gift_notes(directory, database)
    require_three_ds(directory)
    _copy_shop(HERE / "shop_next", directory)
    return commit(directory, "Gift notes, and 3-D Secure for real cards")


def commit_spoiled(directory: Path) -> str:
    """The same fault in prod, and a migration that spoils every price; returns the commit."""
    for source, target in _files(HERE / "estate_files" / "spoiled", directory):
        _write(target, source.read_text(encoding="utf-8"))
    require_three_ds(directory)
    shop = directory / "services" / SERVICE / "app" / "shop"
    shutil.copyfile(HERE / "shop_next" / "payments.py", shop / "payments.py")
    return commit(directory, "Prices in euros, and 3-D Secure for real cards")


def add_gift_notes(directory: Path, database: str = POSTGRESQL) -> None:
    """The schema change that gift notes need."""
    for folder in ("second/add", f"{database}/second/add"):
        for source, target in _files(HERE / "estate_files" / folder, directory):
            _write(target, source.read_text(encoding="utf-8"))


def require_three_ds(directory: Path) -> None:
    """The payment setting that is in force in prod alone."""
    for source, target in _files(HERE / "estate_files" / "second" / "append", directory):
        before, more = target.read_text(encoding="utf-8"), source.read_text(encoding="utf-8")
        if not before.endswith(more):
            _write(target, before + more)


def _copy_shop(source: Path, directory: Path) -> None:
    target = directory / "services" / SERVICE / "app" / "shop"
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.suffix in (".py", ".html"):
            shutil.copyfile(file, target / file.name)


def _files(source: Path, target: Path) -> list[tuple[Path, Path]]:
    found = sorted(path for path in source.rglob("*") if path.is_file())
    return [(path, target / path.relative_to(source)) for path in found]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def commit(directory: Path, message: str) -> str:
    """Commit what lies there; returns the commit, the same again when nothing changed."""
    _git(directory, "add", "-A")
    if _git(directory, "status", "--porcelain"):
        _git(directory, "commit", "-q", "-m", message)
    return _git(directory, "rev-parse", "HEAD").strip()


def _git(directory: Path, *arguments: str) -> str:
    """Run git on this repository alone: the reader's own hooks, signing and identity stay out of it."""
    settings = (
        "user.name=Shop Team",
        "user.email=shop@example.com",
        "commit.gpgsign=false",
        "core.autocrlf=false",
    )
    options = [part for setting in settings for part in ("-c", setting)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(directory), *options, "-c", "core.hooksPath=/dev/null", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DriverError(
            N_("git {command} failed in the demonstration's estate: {words}"),
            todo=N_("Look at the directory, or run the demonstration in another one."),
            where=str(directory),
            command=arguments[0],
            words=done.stderr.strip()[:500],
        )
    return done.stdout
