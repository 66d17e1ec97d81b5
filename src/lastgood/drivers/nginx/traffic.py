"""Where the requests of a unit go: as nginx tells it, and how it is changed."""

from __future__ import annotations

from collections.abc import Sequence

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.nginx import grammar
from lastgood.drivers.nginx.change import Change
from lastgood.drivers.nginx.control import Nginx
from lastgood.drivers.nginx.place import PERMILLE, Place
from lastgood.drivers.nginx.routes import (
    BY_HAND,
    Routes,
    Upstream,
    kept,
    location_lines,
    parse,
    version_of,
)
from lastgood.drivers.nginx.settings import Settings
from lastgood.drivers.nginx.takeover import Takeover
from lastgood.drivers.nginx.view import View
from lastgood.ports.traffic import Destination

Parts = dict[Destination, int]
"""Of a thousand requests, by where they go, the largest part first."""


class Traffic:
    """Keeps the link and the two files of one unit."""

    def __init__(self, settings: Settings, nginx: Nginx, view: View) -> None:
        self._settings = settings
        self._view = view
        self._place = Place(settings)
        self._takeover = Takeover(settings, nginx)
        self._change = Change(settings, self._place, nginx, view)

    def install(self) -> None:
        """Idempotent; what is as it must be is left alone, for a change is a reload."""
        location = self._place.read(self._settings.location)
        if location is not None and grammar.is_ours(location):
            self._change.take_back()
        text = self._place.read(self._settings.file)
        lines = location_lines(self._settings)
        known = kept(text or "") if grammar.is_ours(location or "") else None
        if known is None:
            known = self._begin(location)
        wanted = known.render(self._settings)
        is_there = text == wanted and location is not None and grammar.our_lines(location) == lines
        told = self._view.look() if is_there else None
        if told is None or told.version != version_of(wanted):
            self._change.apply(known, grammar.taken_over(location or "", lines))
            told = self._view.require(self._view.look())
        if not self._place.has_link():
            self._place.point([(Upstream(told.destination).id, PERMILLE)])

    def _begin(self, location: str | None) -> Routes:
        """Routes to where requests go now, and a link that leads there. Nobody follows the link yet."""
        if location is not None and grammar.is_ours(location):
            told = self._view.require(self._view.look())
            before = Upstream(told.destination, self._settings.upstream_options)
        elif location is not None:
            before = self._takeover.find(location)
            self._change.keep_aside(location)
        else:
            before = Upstream(Destination())
        self._place.point([(before.id, PERMILLE)])
        return Routes().with_new([before], [before.destination])

    def known(self) -> Routes:
        """What nginx can send requests to. Raises Rejected when the route is not installed, or was changed by
        hand.
        """
        location = self._place.read(self._settings.location)
        if location is None or not grammar.is_ours(location):
            raise Rejected(
                N_("the route of {unit} is not installed in nginx"),
                todo=N_("Install it first; a deploy does."),
                where=str(self._settings.location),
                unit=str(self._settings.unit),
            )
        found = parse(self._place.read(self._settings.file) or "")
        if found is None or grammar.our_lines(location) != location_lines(self._settings):
            raise Rejected(
                N_("the route of {unit} in nginx was changed by hand: where requests go is not known"),
                todo=N_("Compare {path} with the last evidence; installing puts it right."),
                where=str(self._settings.upstreams),
                unit=str(self._settings.unit),
                path=str(self._settings.file),
            )
        return found

    def is_installed(self) -> bool:
        location = self._place.read(self._settings.location)
        return location is not None and grammar.is_ours(location)

    def parts(self) -> Parts:
        """As nginx tells. Before the route is installed: as the location says that somebody else wrote."""
        location = self._place.read(self._settings.location)
        if location is None:
            return {Destination(): PERMILLE}
        if not grammar.is_ours(location):
            return {self._takeover.find(location).destination: PERMILLE}
        return self._told()[0]

    def _told(self) -> tuple[Parts, set[str]]:
        """Parts, and the versions of the workers that were asked."""
        ways = self._place.ways()
        answers = [self._view.require(told) for told in self._view.look_all(digits for digits, _ in ways)]
        versions = {told.version for told in answers}
        if versions != {BY_HAND}:
            self.known()
        parts: Parts = {}
        for told, (_, count) in zip(answers, ways, strict=True):
            parts[told.destination] = parts.get(told.destination, 0) + count
        return dict(sorted(parts.items(), key=lambda part: -part[1])), versions

    def send(self, wanted: Sequence[tuple[Upstream, int]]) -> None:
        """Have these parts of a thousand from the next request on. Needs a reload only where nginx does not
        know one of them yet.
        """
        self.known()
        self._change.take_back()
        known = self.known()
        now, versions = self._told()
        parts = {upstream.destination: count for upstream, count in wanted}
        if parts == now:
            return
        new = [u for u, _ in wanted if u.destination.addresses and known.find(u.destination) is None]
        text = self._place.read(self._settings.file) or ""
        before = ""
        if new or versions != {version_of(text)}:
            location = self._place.read(self._settings.location) or ""
            self._change.apply(known.with_new(new, list(now)), location)
            before = Upstream(next(iter(now))).id
        self._place.point([(upstream.id, count) for upstream, count in wanted], before)
        self._confirm(parts)

    def _confirm(self, wanted: Parts) -> None:
        try:
            seen, _ = self._told()
        except Unreachable as error:
            raise OutcomeUnknown(
                N_("the traffic was switched, but nginx does not answer any more"),
                todo=N_("Look where requests go once nginx is back; it is safe to repeat."),
                where=self._settings.ask,
            ) from error
        if seen != wanted:
            raise Rejected(
                N_("nginx does not follow the link: it sends requests to '{seen}'"),
                todo=N_("Make {path} readable for nginx's workers, at the same path."),
                where=self._settings.ask,
                cause=Cause.PERMISSION,
                seen=", ".join(address for destination in seen for address in destination.addresses) or "-",
                path=str(self._settings.states),
            )
