"""Secret values sealed with age beside the restore points; the key lies elsewhere.

Every sealed copy is a plain age file: ``age -d -i KEY secrets/NAME/VERSION.age`` opens it on the day
when lastgood itself is dead.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyrage  # type: ignore[import-untyped]  # ships no types

from lastgood.domain.errors import Cause, DriverError, InvalidInput, LastgoodError
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.store.files import file_error, make_directory, write_durably

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[0-9a-f]{16}")
_PURPOSE = b"lastgood secret version 1"
RECIPIENT = "recipient.txt"


def create_key(path: Path) -> None:
    """Have an age X25519 identity in ``path`` (0600); one that is there stays. Raises DriverError."""
    if path.exists():
        return
    identity = pyrage.x25519.Identity.generate()
    content = f"# public key: {identity.to_public()}\n{identity}\n"
    try:
        make_directory(path.parent)
        write_durably(path, content.encode(), replace=False)
    except FileExistsError:
        return  # another process was first
    except OSError as error:
        raise file_error(error, path) from error


class AgeVault:
    """Implements ``ports.content.Vault`` in ``directory``, with the identity in ``key_file``.

    The key is made at the first ``seal`` or ``version``, and only while nothing is sealed yet: a new
    key in the place of a lost one would hide that every sealed copy became unreadable.
    """

    def __init__(self, directory: Path, key_file: Path) -> None:
        """Raises InvalidInput when the key would lie beside what it opens."""
        self._directory = directory
        self._key_file = key_file
        if key_file.resolve().is_relative_to(directory.resolve()):
            raise InvalidInput(
                N_("the key {path} lies beside what it seals"),
                todo=N_("Keep the key outside {directory}, so that a copy of the one is not both."),
                where=str(key_file),
                path=str(key_file),
                directory=str(directory),
            )

    def version(self, name: str, value: str) -> SecretVersion:
        """Raises DriverError when the key is missing, unreadable or readable by others."""
        self._make_first_key()
        return self._version(name, value)

    def seal(self, name: str, value: str) -> SecretVersion:
        """Raises DriverError: key missing, disk full, not permitted."""
        secret = self.version(name, value)
        if self.has(secret):
            return secret
        path = self._path(secret)
        sealed = pyrage.encrypt(_bytes(value), [self._identity.to_public()])
        try:
            make_directory(path.parent)
            write_durably(path, sealed)
        except OSError as error:
            raise file_error(error, path) from error
        return secret

    def unseal(self, secret: SecretVersion) -> str:
        """Raises DriverError: copy or key missing or damaged (wrong path), not permitted."""
        path = self._path(secret)
        sealed = self.sealed(secret)
        try:
            value: str = pyrage.decrypt(sealed, [self._identity]).decode("utf-8", "surrogateescape")
        except pyrage.DecryptError:
            raise self._unreadable(secret, path) from None
        if self._version(secret.name, value) != secret:
            raise self._unreadable(secret, path)
        return value

    def sealed(self, secret: SecretVersion) -> bytes:
        """An age file. Raises DriverError: missing (wrong path), not permitted."""
        path = self._path(secret)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise DriverError(
                N_("there is no sealed copy of secret {name} version {version}"),
                todo=N_("Put back {path} from a backup, or deploy again to seal the present value."),
                where=str(path),
                cause=Cause.WRONG_PATH,
                name=secret.name,
                version=secret.version,
                path=str(path),
            ) from error
        except OSError as error:
            raise file_error(error, path) from error

    def has(self, secret: SecretVersion) -> bool:
        """Whether it can be unsealed here and now."""
        try:
            self.unseal(secret)
        except LastgoodError:
            return False
        return True

    def seal_stream(self, source: BinaryIO, to: BinaryIO) -> None:
        """Source of ``Vault.seal_stream``; an age file."""
        self._make_first_key()
        recipient = self._identity.to_public()
        self._note(str(recipient))
        watched = _Watched(to)
        try:
            pyrage.encrypt_io(source, watched, [recipient])
        except pyrage.EncryptError as error:
            # It tells of the stream's own error in words only.
            raise watched.error or OSError(str(error)) from None

    def unseal_stream(self, source: BinaryIO, to: BinaryIO) -> None:
        """Source of ``Vault.unseal_stream``."""
        identity = self._identity
        try:
            pyrage.decrypt_io(source, to, [identity])
        except pyrage.DecryptError:
            raise self._closed_stream() from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise self._closed_stream() from None

    def _note(self, recipient: str) -> None:
        """For whom streams were sealed: from then on a key that is missing is a lost one."""
        path = self._directory / RECIPIENT
        if path.exists():
            return
        try:
            make_directory(path.parent)
            write_durably(path, f"{recipient}\n".encode())
        except OSError as error:
            raise file_error(error, path) from error

    def _version(self, name: str, value: str) -> SecretVersion:
        _check_name(name)
        content = name.encode() + b"\0" + _bytes(value)
        return SecretVersion(name, hmac.new(self._digest_key, content, hashlib.sha256).hexdigest()[:16])

    def _path(self, secret: SecretVersion) -> Path:
        _check_name(secret.name)
        if not _VERSION.fullmatch(secret.version):
            raise InvalidInput(
                N_("'{version}' is not a version of secret {name}"),
                todo=N_("A version is 16 hex digits."),
                name=secret.name,
                version=secret.version,
            )
        return self._directory / secret.name / f"{secret.version}.age"

    def _make_first_key(self) -> None:
        sealed = any(self._directory.glob("*/*.age")) or (self._directory / RECIPIENT).exists()
        if not self._key_file.exists() and not sealed:
            create_key(self._key_file)

    @cached_property
    def _digest_key(self) -> bytes:
        return hmac.new(str(self._identity).encode(), _PURPOSE, hashlib.sha256).digest()

    @cached_property
    def _identity(self) -> pyrage.x25519.Identity:
        try:
            mode = self._key_file.stat().st_mode
            content = self._key_file.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError as error:
            raise self._no_key() from error
        except OSError as error:
            raise file_error(error, self._key_file) from error
        if mode & 0o077:
            raise DriverError(
                N_("the key {path} can be read by others"),
                todo=N_("Close it with `chmod 600 {path}`, and ask yourself who has read it."),
                where=str(self._key_file),
                cause=Cause.PERMISSION,
                path=str(self._key_file),
            )
        lines = [line.strip() for line in content.splitlines()]
        try:
            return pyrage.x25519.Identity.from_str(next(line for line in lines if line[:1] not in ("", "#")))
        except (StopIteration, pyrage.IdentityError):
            # Not chained: the vendor's error may quote the line.
            raise self._no_key() from None

    def _no_key(self) -> DriverError:
        return DriverError(
            N_("the key to the sealed secrets is missing or is no age identity: {path}"),
            todo=N_(
                "Put back {path} from where you keep its copy. Without it the sealed secrets in {directory} "
                "and the copies of databases stay closed; then move that directory aside and deploy again: "
                "the present values are sealed, and new copies taken."
            ),
            where=str(self._key_file),
            cause=Cause.WRONG_PATH,
            path=str(self._key_file),
            directory=str(self._directory),
        )

    def _closed_stream(self) -> DriverError:
        return DriverError(
            N_("a sealed file does not open with the key {key_file}"),
            todo=N_("Either it is damaged or the key is another one: put back the right one of the two."),
            where=str(self._key_file),
            cause=Cause.WRONG_PATH,
            key_file=str(self._key_file),
        )

    def _unreadable(self, secret: SecretVersion, path: Path) -> DriverError:
        return DriverError(
            N_("the sealed copy of secret {name} version {version} does not open with the key {key_file}"),
            todo=N_("Either {path} is damaged or the key is another one: put back the right one of the two."),
            where=str(path),
            cause=Cause.WRONG_PATH,
            name=secret.name,
            version=secret.version,
            path=str(path),
            key_file=str(self._key_file),
        )


@dataclass
class _Watched:
    """A stream that remembers its error."""

    stream: BinaryIO
    error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            return self.stream.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()


def _bytes(value: str) -> bytes:
    """The environment may hold bytes that are not UTF-8; they must come back as they were."""
    return value.encode("utf-8", "surrogateescape")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(
            N_("'{name}' cannot name a secret"),
            todo=N_("Use letters, digits, '_', '-' and single dots, at most 128 of them."),
            name=name,
        )
