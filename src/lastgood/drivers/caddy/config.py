"""The server of a unit as Caddy's JSON, and where it belongs in a whole configuration. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.drivers.caddy.settings import Settings

VIEW_HOST = "lastgood.invalid"
"""Host of the private question "where do requests go now?"; the top-level name .invalid is reserved."""
VIEW_HANDLER = "subroute"
"""Caddy labels a request's metrics with its route's first handler: this one marks our own questions."""
UNIT_HEADER = "X-Lastgood-Unit"
RETRY_AFTER = "5"


@dataclass(frozen=True)
class Write:
    """One request to the admin API: ``PUT`` creates at ``path``, ``PATCH`` and ``POST`` replace there."""

    method: str
    path: str
    value: Any


def server_config(settings: Settings) -> dict[str, Any]:
    """The keys of the server that are ours.

    Each request reads the pointer once: the matcher takes address and generation out of its one line,
    so that both always belong together, and a line that is no destination falls through to 503.
    """
    destination = {
        "vars_regexp": {
            f"{{file.{settings.pointer}}}": {"name": "lastgood", "pattern": r"^(\S+:\d+) (\S+)\s*$"}
        }
    }
    return {
        "listen": [settings.listen],
        "automatic_https": {"disable": True},
        "routes": [
            _view(settings, destination),
            {"match": [destination], "handle": _forward(settings), "terminal": True},
            {
                "handle": [
                    {
                        "handler": "static_response",
                        "status_code": 503,
                        "headers": {"Retry-After": [RETRY_AFTER]},
                        "body": "No generation of this service takes requests now.\n",
                    }
                ],
                "terminal": True,
            },
        ],
    }


def _view(settings: Settings, destination: Mapping[str, Any]) -> dict[str, Any]:
    """Answers our own question with what Caddy itself reads; only to peers on this machine."""
    host = settings.listen.rpartition(":")[0].strip("[]")
    ranges = ["127.0.0.0/8", "::1"]
    if host.replace(".", "").isdigit() or ":" in host:
        ranges += [host] if host not in ("0.0.0.0", "::", "::1") else []
    told = {UNIT_HEADER: [settings.unit.slug]}
    answer = {
        "handler": "static_response",
        "headers": told,
        "body": "{http.regexp.lastgood.1} {http.regexp.lastgood.2}",
    }
    return {
        "match": [{"host": [VIEW_HOST], "remote_ip": {"ranges": ranges}}],
        "handle": [
            {
                "handler": VIEW_HANDLER,
                "routes": [
                    {"match": [dict(destination)], "handle": [answer], "terminal": True},
                    {"handle": [{"handler": "static_response", "headers": told, "status_code": 204}]},
                ],
            }
        ],
        "terminal": True,
    }


def _forward(settings: Settings) -> list[dict[str, Any]]:
    proxy = {
        "handler": "reverse_proxy",
        "transport": {"protocol": "http", "dial_timeout": "2s"},
        "upstreams": [{"dial": "{http.regexp.lastgood.1}"}],
    }
    if not settings.generation_header:
        return [proxy]
    header = {"X-Lastgood-Generation": ["{http.regexp.lastgood.2}"]}
    return [{"handler": "headers", "response": {"deferred": True, "set": header}}, proxy]


def find_server(config: Any, name: str) -> dict[str, Any] | None:
    """The server called ``name`` in a whole configuration, None when there is none."""
    here = config
    for key in ("apps", "http", "servers", name):
        if not isinstance(here, dict) or not isinstance(here.get(key), dict):
            return None
        here = here[key]
    return dict(here)


def is_installed(config: Any, settings: Settings) -> bool:
    """Whether the keys that are ours are as they must be; keys added by others don't matter."""
    there = find_server(config, settings.server)
    return there is not None and all(there.get(k) == v for k, v in server_config(settings).items())


def has_metrics(config: Any) -> bool:
    http = ((config or {}).get("apps") or {}).get("http") or {}
    return http.get("metrics") is not None


def placement(config: Any, settings: Settings) -> Write | None:
    """The one narrowest write (one reload) that brings the server in; None when all is there."""
    if is_installed(config, settings) and has_metrics(config):
        return None
    there = find_server(config, settings.server)
    server = {**(there or {}), **server_config(settings)}
    path: tuple[str, ...] = ("apps", "http", "servers", settings.server)
    value: Any = server
    if has_metrics(config) and there is not None:
        return Write("PATCH", "/config/" + "/".join(path), value)
    if not has_metrics(config):
        http = ((config or {}).get("apps") or {}).get("http") or {}
        servers = {**(http.get("servers") or {}), settings.server: server}
        path, value = ("apps", "http"), {**http, "metrics": {}, "servers": servers}
    # Caddy wants every parent to exist: go up to the first one that does.
    here, depth = config, 0
    while depth < len(path) - 1 and isinstance(here, dict) and isinstance(here.get(path[depth]), dict):
        here, depth = here[path[depth]], depth + 1
    for key in reversed(path[depth + 1 :]):
        value = {key: value}
    if not isinstance(here, dict):
        return Write("POST", "/config/", {path[0]: value})
    method = "PATCH" if path[depth] in here else "PUT"
    return Write(method, "/config/" + "/".join(path[: depth + 1]), value)
