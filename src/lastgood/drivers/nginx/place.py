"""The driver's files: two that nginx includes, and the link that says where requests go."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lastgood.domain.digest import digest, short
from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.nginx.routes import NOWHERE, OR
from lastgood.drivers.nginx.settings import Settings

PERMILLE = 1000
DIGITS = "0123456789"
SPLIT = "split."
NEW = ".new-"
LEFT_OVER = 3600.0
CAUSES = {
    errno.EACCES: Cause.PERMISSION,
    errno.EPERM: Cause.PERMISSION,
    errno.EROFS: Cause.PERMISSION,
    errno.ENOENT: Cause.WRONG_PATH,
    errno.ENOTDIR: Cause.WRONG_PATH,
    errno.EISDIR: Cause.WRONG_PATH,
    errno.EEXIST: Cause.WRONG_PATH,
}


class Place:
    """The directory that nginx includes. Every write is durable and appears whole or not at all.

    The link leads to a directory of three levels, one digit each: a request throws three digits, and the
    path of its digits ends, through links, in the directory of its upstream. An upstream's own directory
    holds ten links to itself, so that all digits end there; a split is a small tree of links.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read(self, path: Path) -> str | None:
        """None when it is not there. Raises Rejected."""
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._rejected(path, error) from error

    def write(self, path: Path, text: str | None) -> None:
        """None removes it. On Rejected it is as before, on OutcomeUnknown it may be either."""
        with self._mapped(path):
            if text is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                _sweep_new(path)
                self._replace(path, text)
        self._sync(path.parent)

    def has_link(self) -> bool:
        return self._settings.link.is_symlink()

    def ways(self) -> list[tuple[str, int]]:
        """(three digits as a path, how many of a thousand requests go the same way); adds up to 1000."""
        with self._mapped(self._settings.link):
            return list(self._ways(self._settings.link.resolve(), ""))

    def _ways(self, directory: Path, digits: str) -> Iterator[tuple[str, int]]:
        here = directory.resolve()
        is_end = len(digits) == 3 or not here.is_dir()
        if is_end or all((here / digit).resolve() == here for digit in DIGITS):
            yield "/".join(digits.ljust(3, "0")), 10 ** (3 - len(digits))
            return
        for digit in DIGITS:
            yield from self._ways(directory / digit, digits + digit)

    def point(self, shares: Sequence[tuple[str, int]], before: str = "") -> None:
        """Have ``shares`` (id of an upstream, of a thousand) from the next request on: one rename. A worker
        from before a reload, which doesn't know that upstream yet, sends what it still gets to ``before``.

        On Rejected it is as before, on OutcomeUnknown it may be either.
        """
        # By name, not by size: in the steps of a canary a visitor's digits stay on the side they are on.
        suffix = f"{OR}{before}" if before else ""
        owners = [f"{name}{suffix}" for name, count in sorted(shares) for _ in range(count)]
        link, states = self._settings.link, self._settings.states
        with self._mapped(states):
            states.mkdir(parents=True, exist_ok=True)
            self._sweep()
            for name in set(owners):
                self._grow(name, [name] * PERMILLE)
            target = owners[0]
            if len(set(owners)) > 1:
                target = SPLIT + short(digest(owners))
                self._grow(target, owners)
        self._sync(states)
        with self._mapped(link):
            temporary = states / f"{NEW}link"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(Path(states.name) / target)
            temporary.replace(link)
        self._sync(link.parent)

    def _grow(self, name: str, owners: Sequence[str]) -> None:
        """Have the directory ``name``. It never changes once it is there, but by somebody's hand."""
        final = self._settings.states / name
        wanted = dict.fromkeys(DIGITS, ".") if set(owners) == {name} else _tree(owners, "", "../")
        if _links(final) == wanted:
            return
        fresh = Path(tempfile.mkdtemp(prefix=NEW, dir=final.parent))
        fresh.chmod(0o755)
        for path, target in wanted.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).symlink_to(target)
        for directory in {(fresh / path).parent for path in wanted} | {fresh}:
            self._sync(directory)
        if final.exists():
            final.rename(final.with_name(f"{NEW}{name}"))
        fresh.replace(final)

    def _sweep(self) -> None:
        """Remove splits that are over, but not the present one: a request may be on its way through it."""
        present = self._settings.link.resolve().name
        for old in self._settings.states.iterdir():
            is_over = old.name.startswith(SPLIT) and old.name != present
            if is_over or (old.name.startswith(NEW) and old.is_dir()):
                shutil.rmtree(old)

    def forget(self, known: set[str]) -> None:
        """Remove the directories of upstreams that nginx doesn't know any more."""
        known = {*known, NOWHERE}
        with self._mapped(self._settings.states):
            for old in self._settings.states.iterdir():
                is_ours = old.is_dir() and not old.name.startswith((SPLIT, NEW))
                if is_ours and old.name.split(OR)[0] not in known:
                    shutil.rmtree(old)

    def _replace(self, path: Path, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}{NEW}", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)  # nginx's workers run as another user
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _sync(self, directory: Path) -> None:
        try:
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OutcomeUnknown(
                N_("{path} was written, but may not be durable: {reason}"),
                todo=N_("Check the disk, then run it again: it is safe to repeat."),
                where=str(directory),
                path=str(directory),
                reason=error.strerror or str(error),
            ) from error

    @contextmanager
    def _mapped(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._rejected(path, error) from error

    def _rejected(self, path: Path, error: OSError | ValueError) -> Rejected:
        number = error.errno if isinstance(error, OSError) else None
        return Rejected(
            N_("the files of the traffic can't be used: {reason}"),
            todo=N_(
                "Make {directory} a directory with free space that this user can write and nginx can read."
            ),
            where=str(getattr(error, "filename", None) or path),
            cause=CAUSES.get(number or 0),
            reason=getattr(error, "strerror", None) or str(error),
            directory=str(self._settings.upstreams),
        )


def _tree(owners: Sequence[str], path: str, up: str) -> dict[str, str]:
    """Links by path: for each digit one to the owner of that part; where it has several, the next digit."""
    size = len(owners) // len(DIGITS)
    links = {}
    for number, digit in enumerate(DIGITS):
        part = owners[number * size : (number + 1) * size]
        if len(set(part)) == 1:
            links[f"{path}{digit}"] = f"{up}{part[0]}"
        else:
            links |= _tree(part, f"{path}{digit}/", f"../{up}")
    return links


def _links(directory: Path) -> dict[str, str]:
    found = {}
    for above, names, others in os.walk(directory):
        for name in (*names, *others):
            path = Path(above) / name
            if path.is_symlink():
                found[str(path.relative_to(directory))] = str(path.readlink())
            elif not path.is_dir():
                found[str(path.relative_to(directory))] = ""
    return found


def _sweep_new(path: Path) -> None:
    """Remove what a writer killed before its rename left behind."""
    for old in path.parent.glob(f".{path.name}{NEW}*"):
        if old.stat().st_mtime < time.time() - LEFT_OVER:
            old.unlink(missing_ok=True)
