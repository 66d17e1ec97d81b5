"""What stands in our two files: the upstreams nginx knows, and how a request finds its own. No I/O.

Where a request goes is a symbolic link that nginx resolves at each request (``$realpath_root``): so going
to an upstream that nginx knows already is one rename, and only a new one needs a reload.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.domain.digest import canonical, digest, short
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.drivers.nginx.settings import Settings, valid_address
from lastgood.ports.traffic import Destination

NOWHERE = "nowhere"
BEFORE = "before"
"""Begins the name of an upstream that no generation of ours is behind (a baseline)."""
OR = "+"
"""Between the names of a directory: go to the first, or, where that is not known yet, to the second."""
VIEW_HEADER = "X-Lastgood-View"
ANSWER_HEADER = "X-Lastgood"
GENERATION = re.compile(r"[A-Za-z0-9._:@/+-]{1,200}")
TOLD_ADDRESS = re.compile(r"[A-Za-z0-9._:\[\]/-]+")
UNKNOWN_VERSION = "0" * 12
BY_HAND = "by-hand"
"""The version of a file that a restore bundle wrote."""
BEGIN, END = "# lastgood: begin", "# lastgood: end"
RETRY_AFTER = 5
KEPT = 4
"""Upstreams without requests that nginx goes on knowing, so that going back to them needs no reload."""


@dataclass(frozen=True)
class Upstream:
    """A destination that nginx knows, with the lines its block was made with. ``body`` is the block somebody
    else wrote, kept word for word.
    """

    destination: Destination
    options: tuple[str, ...] = ()
    body: str = ""

    @property
    def key(self) -> str:
        return short(digest((self.destination.generation, sorted(self.destination.addresses))))[:10]

    @property
    def id(self) -> str:
        """Name of its directory; tells people the generation."""
        if not self.destination.addresses:
            return NOWHERE
        readable = re.sub(r"[^A-Za-z0-9._-]", "-", self.destination.generation)[:100]
        return f"{readable or BEFORE}.{self.key}"

    def name(self, settings: Settings) -> str:
        """Of its block in nginx."""
        return f"lastgood_{settings.unit.slug}.{self.key}"

    @property
    def is_lasting(self) -> bool:
        """Whether nginx can still start with it when nobody looks after it any more: a name may be gone."""
        return all(re.fullmatch(r"[0-9.]+:\d+|\[.*\]:\d+", a) for a in self.destination.addresses)


def upstream_of(destination: Destination, settings: Settings) -> Upstream:
    """Raises InvalidInput when it can't be written into nginx's configuration."""
    generation, addresses = destination.generation, destination.addresses
    fine = bool(addresses) or not generation
    fine = (
        fine
        and all(valid_address(a) or _is_socket(a, generation) for a in addresses)
        and len(set(addresses)) == len(addresses)
    )
    if not fine or (generation and not GENERATION.fullmatch(generation)) or generation == "-":
        raise InvalidInput(
            N_("'{address}' with generation '{generation}' is no destination"),
            todo=N_("Give an address as host:port, and a generation without spaces."),
            address=", ".join(addresses),
            generation=generation,
        )
    return Upstream(Destination(generation, tuple(sorted(addresses))), settings.upstream_options)


def _is_socket(address: str, generation: str) -> bool:
    """Only of a baseline: that is what somebody else may have written."""
    return not generation and address.startswith("unix:/") and bool(TOLD_ADDRESS.fullmatch(address))


@dataclass(frozen=True)
class Routes:
    """The upstreams of one loaded configuration, the newest last. ``default`` (an id) takes requests whose
    link leads to none of them: it is lost, or somebody else made it.
    """

    upstreams: tuple[Upstream, ...] = ()
    default: str = NOWHERE

    def find(self, destination: Destination) -> Upstream | None:
        wanted = Upstream(destination)
        return next((u for u in self.upstreams if u.id == wanted.id), None)

    def of_generation(self, generation: str) -> tuple[Upstream, ...]:
        return tuple(u for u in self.upstreams if u.destination.generation == generation)

    def with_new(self, new: Sequence[Upstream], used: Sequence[Destination]) -> Routes:
        """``new`` are added; of those without requests the newest stay. ``used`` have requests now, the
        largest share first.
        """
        added = [u for u in new if u.id != NOWHERE and self.find(u.destination) is None]
        ids = {u.id for u in added} | {Upstream(d).id for d in used}
        others = [u for u in self.upstreams if u.id not in ids and (u.is_lasting or u.body)][-KEPT:]
        stay = [u for u in self.upstreams if u.id in ids or u in others]
        return Routes((*stay, *added), Upstream(used[0]).id if used else NOWHERE)

    def render(self, settings: Settings) -> str:
        """The file for the ``http`` block. Its version is the digest of what it says."""
        text = "\n".join((*self._head(settings), *selection_lines(settings), *self._blocks(settings), ""))
        return text.replace(UNKNOWN_VERSION, _version(text))

    def _head(self, settings: Settings) -> list[str]:
        kept = {
            "default": self.default,
            "upstreams": [
                {
                    "generation": u.destination.generation,
                    "addresses": u.destination.addresses,
                    "options": u.options,
                    "body": u.body,
                }
                for u in self.upstreams
            ],
        }
        return [
            f"# lastgood {UNKNOWN_VERSION}: where requests of {settings.unit} can go. Changes are undone.",
            f"# {canonical(kept).decode('utf-8')}",
        ]

    def _blocks(self, settings: Settings) -> list[str]:
        v, slug = settings.variable, settings.unit.slug
        default = next((u.name(settings) for u in self.upstreams if u.id == self.default), "")
        names = {NOWHERE: "", **{u.id: u.name(settings) for u in self.upstreams}}
        either = re.escape(OR)
        lines = [f"map $realpath_root ${v} {{", f'    default "{default}";']
        lines += [f'    "~/{re.escape(i)}({either}|$)" "{name}";' for i, name in names.items()]
        lines += [f'    "~{either}{re.escape(i)}$" "{name}";' for i, name in names.items()]
        told = f"{slug} {UNKNOWN_VERSION}"
        lines += ["}", f"map ${v} ${v}_told {{", f'    default "{told} - -";']
        lines += [f'    "~{re.escape(u.key)}$" "{told} {_told(u.destination)}";' for u in self.upstreams]
        lines.append("}")
        for upstream in self.upstreams:
            lines += block(upstream, settings)
        return lines


def selection_lines(settings: Settings) -> list[str]:
    """How a request, or a question of ours, comes to its three digits."""
    v, slug = settings.variable, re.escape(settings.unit.slug)
    lines = []
    for digit in "123":
        lines.append(f'split_clients "{digit}{settings.split_on}" ${v}_{digit} {{')
        lines += [*(f"    10% {n};" for n in range(9)), "    * 9;", "}"]
    lines += [f"geo ${v}_near {{", "    default 0;", *(f"    {p} 1;" for p in settings.peers), "}"]
    # The name of a capture has 32 characters at most, and is one for all files.
    name = f"lastgood_{hashlib.sha256(settings.unit.slug.encode()).hexdigest()[:10]}"
    asked = f'"~^1{slug} (?<{name}>[0-9]/[0-9]/[0-9])$" ${name};'
    header = VIEW_HEADER.lower().replace("-", "_")
    lines += [f"map ${v}_near$http_{header} ${v}_ask {{", '    default "";', f"    {asked}", "}"]
    lines += [
        f"map ${v}_ask ${v}_path {{",
        f'    "" ${v}_1/${v}_2/${v}_3;',
        f"    default ${v}_ask;",
        "}",
    ]
    return lines


def block(upstream: Upstream, settings: Settings) -> list[str]:
    """The ``upstream`` block of one destination."""
    head = [
        f"# generation {upstream.destination.generation or '-'}",
        f"upstream {upstream.name(settings)} {{",
    ]
    if upstream.body:
        return [*head, upstream.body, "}"]
    options = [f"    {option}" for option in upstream.options]
    return [*head, *(f"    server {a};" for a in upstream.destination.addresses), *options, "}"]


def parse(text: str) -> Routes | None:
    """The inverse of ``render``; None when it is not ours, or was changed by hand."""
    version = version_of(text)
    is_whole = version and _version(text.replace(version, UNKNOWN_VERSION)) == version
    return kept(text) if is_whole else None


def kept(text: str) -> Routes | None:
    """What a file of ours was written from, whatever became of the rest of it."""
    lines = text.splitlines()
    try:
        found = json.loads(lines[1].removeprefix("# "))
        upstreams = tuple(
            Upstream(Destination(u["generation"], tuple(u["addresses"])), tuple(u["options"]), u["body"])
            for u in found["upstreams"]
        )
        return Routes(upstreams, found["default"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def version_of(text: str) -> str:
    match = re.match(r"# lastgood ([0-9a-f]{12}):", text)
    return match.group(1) if match else ""


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _told(destination: Destination) -> str:
    return f"{destination.generation or '-'} {','.join(destination.addresses)}"


@dataclass(frozen=True)
class Told:
    """What a worker answered: the version of its configuration, and where such a request would go."""

    version: str
    destination: Destination


def read_answer(settings: Settings, header: str) -> Told | None:
    """None when it is not the answer of this unit."""
    parts = header.split()
    if len(parts) != 4 or parts[0] != settings.unit.slug:
        return None
    if parts[3] == "-":
        return Told(parts[1], Destination())
    generation = "" if parts[2] == "-" else parts[2]
    return Told(parts[1], Destination(generation, tuple(parts[3].split(","))))


def location_lines(settings: Settings) -> str:
    """What has to stand in the unit's location, between our marks."""
    v = settings.variable
    return "\n".join(
        (
            f"{BEGIN} ({settings.unit}; what stands before the end is overwritten)",
            f"root {settings.link}/${v}_path;",
            f'if (${v}_ask) {{ access_log off; add_header {ANSWER_HEADER} "${v}_told" always; return 204; }}',
            f'if (${v} = "") {{ add_header Retry-After {RETRY_AFTER} always; return 503; }}',
            f"proxy_pass http://${v};",
            END,
        )
    )
