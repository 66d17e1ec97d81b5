"""What a generation is, as plain data for its shim: commands resolved, no secret values."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from lastgood.domain.digest import digest, plain
from lastgood.domain.release import RoleSpec
from lastgood.domain.unit import Role
from lastgood.drivers.process.settings import ProcessSettings
from lastgood.ports.drivers import Generation

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = re.compile(r"python(3(\.\d+)?)?")


def make_spec(generation: Generation, settings: ProcessSettings, home: str, artifact: str) -> dict[str, Any]:
    """Raises Rejected when the setting ``user`` asks for what this process may not do."""
    user = settings.identity()
    config = str(generation.config) if generation.config else ""
    environment = _environment(user, home)
    environment |= {
        "LASTGOOD_UNIT": str(generation.unit),
        "LASTGOOD_GENERATION": generation.id,
        "LASTGOOD_CONFIG": config,
        "LASTGOOD_ARTIFACT": artifact,
    }
    return {
        "format": 1,
        # the same generation keeps the environment of its first start, whoever starts it again
        "of": digest((generation, settings.host, settings.ports, user, artifact)),
        "id": generation.id,
        "unit": str(generation.unit),
        "host": settings.host,
        "ports": list(settings.ports) if settings.ports else None,
        "ports_directory": str(settings.root / "ports"),
        "user": user,
        "working_directory": artifact or home,
        "environment": environment,
        "secrets": [[s.name, s.version] for s in generation.secrets],
        "roles": {
            role.role.value: {
                "command": _command(role, artifact, config, environment["PATH"]),
                "environment": plain(role.environment),
                "grace": role.stop_grace,
                "listens": role.role is Role.WEB or any("{port}" in part for part in role.command),
                "ready": role.ready.path if role.ready else "",
            }
            for role in generation.roles
        },
    }


def _environment(user: dict[str, Any] | None, home: str) -> dict[str, str]:
    """Little, and known: what the operator's shell happens to hold must not decide how a service runs."""
    mine = os.environ
    found = {
        "PATH": mine.get("PATH", PATH),
        "HOME": user["home"] if user else mine.get("HOME", "/"),
        "LANG": mine.get("LANG", "C.UTF-8"),
        "PYTHONPYCACHEPREFIX": f"{home}/pycache",  # the artifact is read-only and must stay as it is
    }
    if "TZ" in mine:
        found["TZ"] = mine["TZ"]
    return found


def _command(role: RoleSpec, artifact: str, config: str, path: str) -> list[str]:
    parts = [part.replace("{artifact}", artifact).replace("{config}", config) for part in role.command]
    return [_executable(parts[0], artifact, path), *parts[1:]] if parts else ["/nonexistent"]


def _executable(name: str, artifact: str, path: str) -> str:
    if name.startswith("/"):
        return name
    if artifact and os.access(Path(artifact) / name, os.X_OK) and (Path(artifact) / name).is_file():
        return str(Path(artifact) / name)
    found = shutil.which(name, path=path)
    if found is None and PYTHON.fullmatch(name):  # Debian has no `python`
        found = shutil.which("python3", path=path) or sys.executable
    return found or name
