"""The Git command line, asked so that no user's configuration and no hook changes the answer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from lastgood.domain.errors import InvalidInput, Unreachable
from lastgood.domain.message import N_

TIMEOUT = 300.0
_SETTINGS = (
    "core.quotepath=off",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.excludesFile=",
    # Whoever runs lastgood named this directory; only plumbing is run in it, so another owner is no danger.
    "safe.directory=*",
    "status.showUntrackedFiles=all",
    "status.relativePaths=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
)


def environment() -> dict[str, str]:
    """The environment Git runs in: nothing inherited that redirects it, no prompts, no locks."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


class Git:
    """Git in one directory, which may lie below the top of a repository, or be bare."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(
        self, *arguments: str, stdin: bytes | None = None, settings: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command. Raises InvalidInput when Git or the directory is missing."""
        options = [part for s in (*_SETTINGS, *settings) for part in ("-c", s)]
        if not self.directory.is_dir():
            raise InvalidInput(
                N_("there is no directory '{path}'"),
                todo=N_(
                    "Name the directory of the estate's Git repository, or make one with 'lastgood init'."
                ),
                where=str(self.directory),
                path=str(self.directory),
            )
        try:
            return subprocess.run(
                ["git", "--no-pager", *options, *arguments],
                cwd=self.directory,
                env=environment(),
                input=b"" if stdin is None else stdin,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except FileNotFoundError as missing:
            raise InvalidInput(
                N_("the program 'git' was not found"),
                todo=N_("Install Git (on Debian: apt-get install git) or put it on the PATH."),
                where=os.environ.get("PATH", ""),
            ) from missing
        except subprocess.TimeoutExpired as late:
            raise Unreachable(
                N_("git did not answer within {seconds} s"),
                todo=N_("Look whether the repository lies on a disk that hangs, then try again."),
                where=str(self.directory),
                seconds=int(TIMEOUT),
            ) from late

    def out(self, *arguments: str, stdin: bytes | None = None, settings: Sequence[str] = ()) -> bytes:
        """The output of a command that must succeed; raises InvalidInput with Git's own words."""
        done = self.run(*arguments, stdin=stdin, settings=settings)
        if done.returncode:
            raise InvalidInput(
                N_("git {command} failed: {words}"),
                todo=N_("Run it by hand in the repository and mend what it names ('git fsck' finds damage)."),
                where=str(self.directory),
                command=arguments[0],
                words=done.stderr.decode(errors="replace").strip()[-500:],
            )
        return done.stdout

    def require_repository(self) -> None:
        """Raises InvalidInput when the directory is in no Git repository."""
        if self.run("rev-parse", "--git-dir").returncode:
            raise InvalidInput(
                N_("'{path}' is not a Git repository"),
                todo=N_("Name the directory of the estate's repository, or make one with 'lastgood init'."),
                where=str(self.directory),
                path=str(self.directory),
            )

    def is_bare(self) -> bool:
        return self.out("rev-parse", "--is-inside-work-tree").strip() != b"true"

    def prefix(self) -> str:
        """Where the directory lies in its repository: ``""`` at the top, else ``path/``."""
        return self.out("rev-parse", "--show-prefix").decode(errors="surrogateescape").strip("\n")

    def resolve(self, revision: str) -> str:
        """The full name of the commit a revision means; raises InvalidInput when there is none."""
        done = None
        if revision and "\0" not in revision and "\n" not in revision:
            done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
        if done is None or done.returncode:
            self.require_repository()
            raise InvalidInput(
                N_("there is no commit '{revision}'"),
                todo=N_("See what there is with 'git log --oneline', and fetch it if it was made elsewhere."),
                where=str(self.directory),
                revision=revision[:200],
            )
        return done.stdout.decode().strip()

    def files(self, commit: str, prefix: str) -> Iterator[tuple[int, str, bytes, str, bytes]]:
        """(mode, type, raw path, object, content) of every file of a commit, in Git's order.

        One ``ls-tree`` and one ``cat-file --batch``; what is not a blob has empty content.
        """
        name = f"{commit}:{prefix.rstrip('/')}" if prefix else commit
        listed = []
        for record in self.out("ls-tree", "-r", "-z", "--full-tree", name).split(b"\0"):
            if record:
                head, _, path = record.partition(b"\t")
                mode, kind, oid = head.decode().split(" ")
                listed.append((int(mode, 8), kind, path, oid))
        wanted = list(dict.fromkeys(oid for _, kind, _, oid in listed if kind == "blob"))
        contents = self._contents(wanted)
        for bits, kind, path, oid in listed:
            yield bits, kind, path, oid, contents.get(oid, b"")

    def _contents(self, objects: list[str]) -> dict[str, bytes]:
        if not objects:
            return {}
        answer = memoryview(self.out("cat-file", "--batch", stdin="\n".join(objects).encode() + b"\n"))
        raw = answer.obj
        assert isinstance(raw, bytes)
        contents, position = {}, 0
        for oid in objects:
            end = raw.index(b"\n", position)
            header = raw[position:end].decode().split(" ")
            if len(header) != 3:
                raise InvalidInput(
                    N_("object {oid} is missing from the repository"),
                    todo=N_(
                        "Fetch the whole history again ('git fetch --refetch'); 'git fsck' lists damage."
                    ),
                    where=str(self.directory),
                    oid=oid,
                )
            start, size = end + 1, int(header[2])
            contents[oid] = bytes(answer[start : start + size])
            position = start + size + 1
        return contents
