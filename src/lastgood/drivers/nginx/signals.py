"""Signals of a unit, counted from its access log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import LastgoodError
from lastgood.drivers.nginx import log
from lastgood.drivers.nginx.settings import Settings, SignalSettings, missing
from lastgood.ports.drivers import Reading


class Signals:
    """``names_of`` gives the upstreams in nginx of a generation."""

    def __init__(self, settings: Settings, names_of: Callable[[str], set[str]]) -> None:
        self._settings = settings
        self._names_of = names_of

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """Without a log, counting begins at the first look that finds one."""
        SignalSettings.of(self._settings.unit, signal)
        try:
            return {**log.end_of(self._path()), "good": 0, "total": 0}
        except OSError:
            return {}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """ratio: requests answered with none of ``codes`` of all; gauge: milliseconds at ``quantile``, of the
        requests since the last look.
        """
        wanted = SignalSettings.of(self._settings.unit, signal)
        path = self._path()
        try:
            if not cursor:
                return Reading({**log.end_of(path), "good": 0, "total": 0})
            look = log.look(path, cursor)
            requests = self._of_generation(look.requests, wanted.generation)
        except OSError as error:
            return Reading(cursor, error=f"{path}: {error.strerror or error}")
        except LastgoodError as failure:
            return Reading(cursor, error=str(failure))
        is_strange = bool(look.strange and not look.requests)
        strange = f"{path}: no line of it has the log_format of lastgood" if is_strange else ""
        good = int(cursor["good"]) + log.good_of(requests, wanted)
        total = int(cursor["total"]) + len(requests)
        after = {**look.place, "good": good, "total": total}
        if signal.kind is SignalKind.RATIO:
            return Reading(after, good, total, None, strange)
        return Reading(after, value=log.quantile(requests, wanted.quantile), error=strange)

    def _of_generation(self, requests: Sequence[log.Request], generation: str) -> Sequence[log.Request]:
        if not generation or not requests:
            return requests
        names = self._names_of(generation)
        return [request for request in requests if request.host in names]

    def _path(self) -> Path:
        """Raises InvalidInput."""
        if self._settings.log is None:
            raise missing(self._settings.unit, "log")
        return self._settings.log
