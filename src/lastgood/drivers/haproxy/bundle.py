"""Sending traffic by hand: shell lines for the day without lastgood. No I/O."""

from __future__ import annotations

import shlex

from lastgood.drivers.haproxy.settings import Settings

PLAN = r"""
function out(bits) { return bits % 2 || int(bits / 2) % 2 || int(bits / 32) % 2 }
NR > 2 && NF > 18 {
    names[++n] = $4; maint[$4] = out($7)
    at[$4] = ($5 ~ /:/ ? "[" $5 "]" : $5) ":" $19
    slot[$4] = index($4, prefix) == 1 && substr($4, length(prefix) + 1) ~ /^[0-9]+$/
}
END {
    count = split(wanted, address, " ")
    for (i = 1; i <= count; i++)
        for (j = 1; j <= n && !(i in place); j++)
            if (at[names[j]] == address[i] && !(names[j] in used)) { place[i] = names[j]; used[names[j]] }
    for (i = 1; i <= count; i++) {
        for (j = 1; j <= n && !(i in place); j++)
            if (slot[names[j]] && maint[names[j]] && !(names[j] in used)) {
                place[i] = names[j]; used[names[j]]
                match(address[i], /:[0-9]+$/)
                ip = substr(address[i], 1, RSTART - 1); gsub(/[][]/, "", ip)
                port = substr(address[i], RSTART + 1)
                fill = fill "set server " b "/" names[j] " addr " ip " port " port "; "
            }
        if (!(i in place)) exit 1
        if (slot[place[i]]) enter = enter "set server " b "/" place[i] " weight 100%; "
        enter = enter "set server " b "/" place[i] " state ready; "
    }
    for (j = 1; j <= n; j++)
        if (!(names[j] in used) && !maint[names[j]]) {
            leave = leave "set server " b "/" names[j] " state maint; "
            leave = leave "shutdown sessions server " b "/" names[j] "; "
        }
    print fill enter leave "show servers state " b
}
"""


def route_lines(settings: Settings, generation: str) -> tuple[str, ...]:
    """POSIX shell that reads ``ADDRESSES``, with socat and awk: servers that have one of them come in, free
    slots take the rest, and every other server leaves with what is open there.
    """
    backend, state = settings.backend, settings.state_file
    lines = f"""\
# HAProxy: all requests to {generation or "the upstreams"} at $ADDRESSES, at once.
: "${{ADDRESSES:?}}"
haproxy_say() {{ printf '%s\\n' "$2" | socat -t 5 - "$1"; }}
haproxy_plan='{PLAN}'
haproxy_route() {{
    commands=$(haproxy_say "$1" 'show servers state {backend}' |
        awk -v wanted="$ADDRESSES" -v b={backend} -v prefix={settings.slots} "$haproxy_plan") || {{
        echo "$1 does not answer, or backend {backend} has too few server slots in maintenance" >&2
        return 1
    }}
    said=$(haproxy_say "$1" "$commands")
    case $said in
        *enied* | *'No such'* | *nknown\\ command* | *Invalid* | '')
            printf 'HAProxy at %s refused:\\n%s\\n' "$1" "$said" >&2
            return 1
            ;;
    esac
    # What HAProxy loads when it starts.
    haproxy_say "$1" 'show servers state {backend}' >{state}.new && mv {state}.new {state} ||
        echo "{state} can not be written: reloading HAProxy would undo this" >&2
}}
""".splitlines()
    return (*lines, *(f"haproxy_route {shlex.quote(_socat(socket))}" for socket in settings.sockets))


def _socat(socket: str) -> str:
    return f"UNIX-CONNECT:{socket}" if socket.startswith("/") else f"TCP:{socket}"
