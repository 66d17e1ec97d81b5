"""run: the runner in the foreground."""

from __future__ import annotations

import typer

from lastgood.cli.arguments import Command, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_(
        "Commands that change something start a runner by themselves; it ends when nothing is open. This one "
        "stays. It may be stopped or killed at any time: what is open goes on at the next start. Ends with 4 "
        "when another one is at work."
    ),
    epilog="lastgood run --state /var/lib/lastgood",
)
def run(ctx: typer.Context) -> None:
    """Be the runner until stopped."""
    import logging
    import os
    import signal

    from lastgood.cli.session import Session

    session = Session(ctx)
    service = session.service
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for noisy in ("alembic", "httpx", "dbos"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Crash-only: an orderly end would only be slower, and nothing is lost without it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    session.say(N_("Runner for {state}. Stop it with Ctrl-C; what is open goes on at the next start."),
                state=service.places.state)  # fmt: skip
    service.run()
