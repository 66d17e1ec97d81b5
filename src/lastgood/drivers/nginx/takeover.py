"""A location that somebody else wrote: where its requests go before it is ours."""

from __future__ import annotations

from pathlib import Path

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.nginx import grammar
from lastgood.drivers.nginx.control import Nginx
from lastgood.drivers.nginx.routes import TOLD_ADDRESS, Upstream
from lastgood.drivers.nginx.settings import Settings
from lastgood.ports.traffic import Destination

SCHEME = "http://"


class Takeover:
    """Reads the location, and the upstream block that it names."""

    def __init__(self, settings: Settings, nginx: Nginx) -> None:
        self._settings = settings
        self._nginx = nginx

    def find(self, text: str) -> Upstream:
        """Where requests of a location with ``text`` go. Raises Rejected when nginx has not loaded it yet, or
        when it does something else than proxy_pass.
        """
        target = self._target(text)
        if not target:
            return Upstream(Destination())
        self._require_loaded(self._settings.location)
        for path, content in grammar.files(self._nginx.dump()).items():
            body = grammar.upstream_body(content, target)
            if body is not None:
                self._require_loaded(Path(path))
                return self._upstream(grammar.servers(body), body.strip("\n"))
        return self._upstream((grammar.with_port(target),), "")

    def _target(self, text: str) -> str:
        """Host or upstream of its proxy_pass; empty where all requests are refused."""
        found = grammar.answering(text)
        if found is None or (found.words[0] == "return" and found.words[1:2] == ("503",)):
            return ""
        name, argument = found.words[0], found.words[1] if len(found.words) > 1 else ""
        target = argument.removeprefix(SCHEME)
        if name == "proxy_pass" and argument.startswith(SCHEME) and not set(target) & set("/$"):
            return target
        raise Rejected(
            N_("the location does '{statement}', which can't be taken over"),
            todo=N_("Write 'proxy_pass http://NAME;' without a path or variable, or 'return 503;'."),
            where=str(self._settings.location),
            statement=" ".join(found.words),
        )

    def _upstream(self, addresses: tuple[str, ...], body: str) -> Upstream:
        if all(TOLD_ADDRESS.fullmatch(address) for address in addresses):
            return Upstream(Destination("", addresses), body=body if addresses else "")
        raise Rejected(
            N_("the upstream '{addresses}' can't be taken over"),
            todo=N_("Write its servers as host:port."),
            where=str(self._settings.location),
            addresses=", ".join(addresses),
        )

    def _require_loaded(self, path: Path) -> None:
        if not self._nginx.has_loaded(path):
            raise Rejected(
                N_("{path} was changed after nginx loaded it: where requests go is not known"),
                todo=N_("Reload nginx, then try again."),
                where=str(path),
                path=str(path),
            )
