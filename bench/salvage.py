"""Rows a second that a restore carries over: orders taken, changed and removed since the cut."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.support.database_world import SPOIL, DatabaseWorld, database_world
from bench.support.tables import verdict

ROWS = 200_000
AIM = 20_000
WRITES = {
    "inserted, one transaction": "INSERT INTO orders (number, price) "
    "SELECT 'late-' || n, 100 FROM generate_series(1, {rows}) n",
    "updated, one transaction": "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid <= {rows}",
    "deleted, one transaction": "DELETE FROM pgbench_accounts WHERE aid > 100000 AND aid <= 100000 + {rows}",
}


def _rate(world: DatabaseWorld, what: str, statement: str, *, each: int = ROWS) -> float:
    """Carried in one call, the copy made before; written in transactions of ``each`` rows."""
    name = world.database(150)
    driver = world.driver(name)
    try:
        taken = driver.capture("change")
        driver.deploy(SPOIL, "change")
        driver.prepare_copy(taken, "back")
        driver.carry_over(taken, "back", ())
        if each == ROWS:
            world.ask(name, statement.format(rows=ROWS))
        else:
            _small(world, name, each)
        begun = time.perf_counter()
        done = driver.carry_over(taken, "back", ())
        took = time.perf_counter() - begun
        carried = sum(done.carried.values())
        assert carried >= ROWS, f"{carried} of {ROWS}"
        assert not done.conflicts, done.conflicts
    finally:
        driver.close()
        world.drop(name)
    print(f"{what:<50} {ROWS:>9,} {took:>7.1f} s {ROWS / took:>9,.0f} a second", flush=True)
    return ROWS / took


def _small(world: DatabaseWorld, name: str, each: int) -> None:
    world.ask(
        name,
        f"DO $$ BEGIN FOR i IN 1..{ROWS // each} LOOP INSERT INTO orders (number, price) "
        f"SELECT 'late-' || i || '-' || n, 100 FROM generate_series(1, {each}) n; COMMIT; END LOOP; END $$",
    )


def run() -> bool:
    """Print the table; True when each kind of write is carried as fast as the aim."""
    print(f"{'':<50} {'rows':>9}")
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as root:
        Path(root).chmod(0o755)
        with database_world(Path(root)) as world:
            rates = {what: _rate(world, what, statement) for what, statement in WRITES.items()}
            for each in (1, 100):
                what = f"inserted, {each} a transaction"
                rates[what] = _rate(world, what, "", each=each)
    return verdict(
        "salvage", [f"{what} {rate:,.0f} of {AIM:,}" for what, rate in rates.items() if rate < AIM]
    )
