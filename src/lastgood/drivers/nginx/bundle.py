"""How traffic is sent to a generation by hand: the lines of a restore bundle."""

from __future__ import annotations

import shlex

from lastgood.drivers.nginx.routes import BY_HAND, selection_lines
from lastgood.drivers.nginx.settings import Settings
from lastgood.ports.bundles import BundlePart

SELECTION = "nginx/selection.conf"
BEFORE = "nginx-before.conf"


def route_by_hand(settings: Settings, generation: str) -> BundlePart:
    """A file in which everything goes to one upstream, whatever the link says; tested, then loaded."""
    where = [*(["-c", settings.conf] if settings.conf else [])]
    where += ["-p", settings.prefix] if settings.prefix else []
    test = shlex.join([*settings.binary, "-t", *where])
    reload = shlex.join(settings.reload or (*settings.binary, "-s", "reload", *where))
    v, name = settings.variable, f"lastgood_{settings.unit.slug}.{BY_HAND}"
    file, new = (
        shlex.quote(str(settings.file)),
        shlex.quote(f"{settings.upstreams}/.{settings.file.name}.new"),
    )
    options = [f"    echo {shlex.quote(f'    {option}')}" for option in settings.upstream_options]
    told = f"{settings.unit.slug} {BY_HAND} {generation or '-'}"
    return BundlePart(
        lines=(
            "addresses=$(echo $ADDRESSES | tr ' ' ,)",
            "{",
            f"    cat {SELECTION}",
            f"    echo 'upstream {name} {{'",
            '    for address in $ADDRESSES; do echo "    server $address;"; done',
            *options,
            "    echo '}'",
            f"    echo 'map $realpath_root ${v} {{ default \"{name}\"; }}'",
            f"    echo 'map $realpath_root ${v}_told {{ default \"{told} '\"$addresses\"'\"; }}'",
            f"}} > {new}",
            f"[ ! -e {file} ] || cp {file} {BEFORE}",
            f"mv -f {new} {file}",
            f"{test} || {{ [ ! -e {BEFORE} ] || cp {BEFORE} {file}; exit 1; }}",
            reload,
        ),
        needs=(settings.binary[0], *settings.reload[:1]),
        files={SELECTION: "\n".join((*selection_lines(settings), "")).encode()},
    )
