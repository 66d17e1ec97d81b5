"""Secrets where the estate says they are: an environment variable or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lastgood.domain.errors import Cause, InvalidInput, LastgoodError, NotAllowed
from lastgood.domain.message import N_
from lastgood.domain.release import SecretReference

_LARGEST = 1024 * 1024


class SecretSources:
    """Implements ``ports.content.SecretResolver``.

    Relative files are looked up in ``directory`` (the present one when None); variables in
    ``environment`` (this process's own when None).
    """

    def __init__(self, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory or Path()
        self._environment = os.environ if environment is None else environment

    def resolve(self, reference: SecretReference) -> str:
        """The value, without one newline at the end of a file. Raises InvalidInput (missing, empty, not
        a plain file, NUL inside), NotAllowed (unreadable); both name the place, never the value.
        """
        if bool(reference.env) == bool(reference.file):
            raise InvalidInput(
                N_("secret {name} needs exactly one of env and file"),
                todo=N_("Say in the estate where its value is: `env: VARIABLE` or `file: PATH`."),
                name=reference.name,
            )
        if reference.env:
            place = "$" + reference.env
            value = self._environment.get(reference.env)
            if value is None:
                raise InvalidInput(
                    N_("secret {name}: the environment variable {variable} is not set"),
                    todo=N_("Set {variable} where lastgood runs, and try again."),
                    where=place,
                    cause=Cause.WRONG_PATH,
                    name=reference.name,
                    variable=reference.env,
                )
        else:
            path = self._directory / reference.file
            place = str(path)
            value = _read(reference.name, path)
        if not value or "\0" in value:
            raise InvalidInput(
                N_("secret {name}: {place} is empty or holds a NUL byte"),
                todo=N_("Put the value there, and try again."),
                where=place,
                name=reference.name,
                place=place,
            )
        return value


def _read(name: str, path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise _unusable(name, path, "not a plain file")
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except PermissionError as error:
        raise NotAllowed(
            N_("secret {name}: {path} may not be read"),
            todo=N_("Let the user that runs lastgood read {path} (`ls -l {path}`)."),
            where=str(path),
            cause=Cause.PERMISSION,
            name=name,
            path=str(path),
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unusable(name, path, getattr(error, "strerror", None) or str(error)) from error
    if len(content) > _LARGEST:
        raise _unusable(name, path, "larger than 1 MiB")
    text = content.decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _unusable(name: str, path: Path, detail: str) -> LastgoodError:
    return InvalidInput(
        N_("secret {name}: {path} cannot be used ({detail})"),
        todo=N_("Check the path; it is relative to the estate's directory unless it begins with /."),
        where=str(path),
        cause=Cause.WRONG_PATH,
        name=name,
        path=str(path),
        detail=detail,
    )
