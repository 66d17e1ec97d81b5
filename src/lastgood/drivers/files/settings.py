"""The settings of the files driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_


@dataclass(frozen=True)
class FilesSettings:
    """``root`` is an absolute directory; a unit's files live in ``root/<unit.slug>``."""

    root: Path

    @classmethod
    def parse(cls, settings: Mapping[str, Any], where: str) -> FilesSettings:
        """Raises InvalidInput naming the wrong, missing or unknown setting."""
        for key in sorted(set(settings) - {"root"}):
            raise InvalidInput(
                N_("the files driver has no setting '{key}'"),
                todo=N_("Remove it; the only setting is root."),
                where=where,
                key=key,
            )
        root = settings.get("root")
        if not isinstance(root, str) or not root.startswith("/") or "\0" in root:
            raise InvalidInput(
                N_("setting 'root' of the files driver must be an absolute directory, not {value}"),
                todo=N_("Write an absolute path, for example /srv/config."),
                where=where,
                value=repr(root),
            )
        return cls(Path(root))
