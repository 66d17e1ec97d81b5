"""A change of what nginx knows: write, test, reload, wait until it serves."""

from __future__ import annotations

import os

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.nginx import grammar
from lastgood.drivers.nginx.control import Nginx
from lastgood.drivers.nginx.place import Place
from lastgood.drivers.nginx.routes import BY_HAND, Routes, version_of
from lastgood.drivers.nginx.settings import Settings
from lastgood.drivers.nginx.view import View

LOADED = "loaded.conf"
"""The file as nginx has it loaded: put back when a new one doesn't pass the test, even after a crash."""
ASIDE = "before.location"


class Change:
    """Where requests go is not changed by it: the link stays as it is."""

    def __init__(self, settings: Settings, place: Place, nginx: Nginx, view: View) -> None:
        self._settings = settings
        self._place = place
        self._nginx = nginx
        self._view = view

    def apply(self, routes: Routes, location: str) -> None:
        """Have nginx serve ``routes`` and ``location``. Raises Rejected with nginx's reason: then the files
        are as nginx has loaded them.
        """
        settings = self._settings
        if settings.pid is not None:
            self._nginx.master()  # nothing is written for an nginx that does not run
        text = routes.render(settings)
        self._keep_loaded()
        try:
            # Variables are defined before they are used: another reload may come at any moment.
            self._place.write(settings.file, text)
            if self._place.read(settings.location) != location:
                self._place.write(settings.location, location)
            dump = self._test()
        except Rejected:
            self._restore()
            raise
        self._require_included(dump)
        try:
            self._nginx.reload(version_of(text), self._version)
        except Rejected:
            self._restore()
            raise
        except Unreachable as error:
            raise OutcomeUnknown(
                N_("nginx went away while it was reloaded"),
                todo=N_("Start it and look at the target; it is safe to repeat."),
                where=settings.ask,
            ) from error
        if self._view.require(self._view.look()).version != version_of(text):
            raise OutcomeUnknown(
                N_("nginx was reloaded, and serves another configuration than was written"),
                todo=N_("Look at who else changes {path}, then run it again: it is safe to repeat."),
                where=settings.ask,
                path=str(settings.file),
            )
        self._place.forget({upstream.id for upstream in routes.upstreams})

    def keep_aside(self, location: str) -> None:
        """The location as somebody else wrote it: put back when nginx refuses ours."""
        self._place.write(self._settings.states / ASIDE, location)
        self._place.write(self._settings.states / LOADED, None)

    def take_back(self) -> None:
        """Put back the file that nginx has loaded, where a change was cut off in between: needs no reload."""
        text = self._place.read(self._settings.file)
        loaded = self._place.read(self._settings.states / LOADED)
        told = self._view.look()
        if loaded and told and version_of(text or "") != told.version == version_of(loaded):
            self._place.write(self._settings.file, loaded)

    def _keep_loaded(self) -> None:
        """Keep the file, if nginx has loaded it: it may be of a change that was cut off."""
        text, told = self._place.read(self._settings.file), self._view.look()
        if text and told and told.version in (version_of(text), BY_HAND):
            self._place.write(self._settings.states / LOADED, text)

    def _version(self) -> str:
        told = self._view.look()
        return told.version if told else ""

    def _restore(self) -> None:
        loaded = self._place.read(self._settings.states / LOADED)
        if loaded is None:
            self._place.write(self._settings.location, self._place.read(self._settings.states / ASIDE))
        self._place.write(self._settings.file, loaded)

    def _test(self) -> str:
        try:
            return self._nginx.dump()
        except Rejected as error:
            if f'unknown "{self._settings.variable}' not in str(error):
                raise
            raise self._not_included(str(self._settings.file), "http") from error

    def _require_included(self, dump: str) -> None:
        """The files stay: nginx accepts them, and they are waited for."""
        read = {os.path.realpath(path) for path in grammar.files(dump)}
        for path, where in ((self._settings.file, "http"), (self._settings.location, "location")):
            if os.path.realpath(path) not in read:
                raise self._not_included(str(path), where)

    def _not_included(self, path: str, block: str) -> Rejected:
        return Rejected(
            N_("nginx's configuration does not include {path}"),
            todo=N_("Write 'include {path};' into the {block} block for {unit}, then try again."),
            where=self._settings.conf or path,
            cause=Cause.WRONG_PATH,
            path=path,
            block=block,
            unit=str(self._settings.unit),
        )
