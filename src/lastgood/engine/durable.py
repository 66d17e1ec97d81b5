"""The durable runtime: one DBOS workflow that interprets any program.

DBOS wakes a program after a crash; our journal decides what it does. DBOS's database is a file of its
own, and losing it loses nothing: a program without a workflow is simply started again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._dbos import DBOSConfiguredInstance
from dbos._serialization import DBOSPortableJSON

from lastgood.engine.interpreter import Interpreter

APPLICATION_VERSION = "program-1"
"""The version of this interpreter's protocol with DBOS, not of lastgood: an upgrade must not strand
a rollout, so it changes only when an old checkpoint could no longer be read."""

EXECUTOR = "runner"
"""One runner per state directory, so one stable executor id: DBOS recovers what its predecessor left."""

ENDED = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "SUCCESS")


@DBOS.dbos_class()
class ProgramWorkflow(DBOSConfiguredInstance):
    """The workflow; registered before launch so that recovery finds it."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__("program")
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self._active: set[str] = set()

    @DBOS.workflow(name="program", max_recovery_attempts=None)
    def run(self, program: str) -> None:
        """Interpret it, unless another workflow of this process already does."""
        with self._lock:
            if program in self._active:
                return
            self._active.add(program)
        try:
            self._interpreter.run(program, lambda step, act: bool(DBOS.run_step({"name": step}, act)))
        finally:
            with self._lock:
                self._active.discard(program)

    def active(self, program: str) -> bool:
        with self._lock:
            return program in self._active


class DurableRuntime:
    """DBOS on a SQLite file (WAL), without telemetry, Conductor or queues of our own."""

    def __init__(self, database: Path, interpreter: Interpreter) -> None:
        self._prepare(database)
        logging.getLogger("dbos").setLevel(logging.WARNING)
        config: DBOSConfig = {
            "name": "lastgood",
            "system_database_url": f"sqlite:///{database}",
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR,
            "serializer": DBOSPortableJSON,
            "log_level": "WARNING",
            "enable_otlp": False,
            "notification_listener_polling_interval_sec": 0.2,
            "max_executor_threads": 512,
        }
        DBOS(config=config)
        self._workflow = ProgramWorkflow(interpreter)

    @staticmethod
    def _prepare(database: Path) -> None:
        """Turn on WAL once (it persists): a third less time per checkpoint."""
        import sqlite3

        try:
            connection = sqlite3.connect(database, timeout=30)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()
        except sqlite3.DatabaseError:
            # Nothing in this file is needed: set a damaged one aside and let DBOS make a new one.
            database.rename(database.with_suffix(f".damaged-{database.stat().st_mtime_ns}"))

    def launch(self) -> None:
        """Start DBOS; workflows that a dead predecessor left are recovered in the background."""
        DBOS.launch()

    def start(self, program: str) -> None:
        """Have a workflow for ``program``; one that is running or waiting for recovery is left alone."""
        self._start(program, ENDED)

    def revive(self, program: str) -> None:
        """Have ``program`` running now: its workflow may have ended before it (our store or DBOS's could not
        be written for a while), or wait for a recovery that then finds it running, or over.
        """
        if not self._workflow.active(program):
            self._start(program, (*ENDED, "PENDING", "ENQUEUED"))

    def _start(self, program: str, over: Sequence[str]) -> None:
        attempt, workflow = 0, program
        while (known := DBOS.get_workflow_status(workflow)) is not None:
            if known.status not in over:
                return
            # Only a new id runs again; what was done already is in our journal.
            attempt += 1
            workflow = f"{program}.{attempt}"
        with SetWorkflowID(workflow):
            DBOS.start_workflow(self._workflow.run, program)

    def close(self) -> None:
        """Stop DBOS; open programs go on at the next launch."""
        DBOS.destroy()
