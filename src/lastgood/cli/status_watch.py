"""status --watch: the table again and again."""

from __future__ import annotations

import time

from lastgood.cli.session import Session
from lastgood.cli.status_view import status_view
from lastgood.domain.unit import UnitId

SECONDS = 1.0


def keep_watching(session: Session, unit: UnitId | None) -> None:
    """Until Ctrl-C, which here is the ordinary end."""
    try:
        if session.live:
            _live(session, unit)
        else:
            while True:
                session.show(status_view(session.t, session.service.status(unit), detailed=unit is not None))
                time.sleep(SECONDS)
    except KeyboardInterrupt:
        return


def _live(session: Session, unit: UnitId | None) -> None:
    from rich.live import Live

    with Live(console=session.console, auto_refresh=False) as live:
        while True:
            view = status_view(session.t, session.service.status(unit), detailed=unit is not None)
            live.update(view, refresh=True)
            time.sleep(SECONDS)
