"""The pieces of shell that a restore bundle is made of, filled with ``%``."""

from __future__ import annotations

ENGINE = """\
# The engine that it ran in. For another one set DOCKER_HOST before this is run.
if [ -z "${DOCKER_HOST:-}" ]; then
    export DOCKER_HOST=%(host)s
%(tls)sfi
"""
TLS = """\
    docker() { command docker --tlsverify --tlscacert %(ca)s --tlscert %(cert)s --tlskey %(key)s "$@"; }
"""
HEAD = """\
there() { docker container inspect "$1" >/dev/null 2>&1; }
label() { docker container inspect --format "{{index .Config.Labels \\"dev.lastgood.$2\\"}}" "$1"; }
quietly() { "$@" >/dev/null; }
"""
IMAGE = """\
image=
find_image() {
    for id in %(ids)s; do
        if docker image inspect "$id" >/dev/null 2>&1; then image=$id; return; fi
    done
}
find_image
%(load)s[ -n "$image" ] || { echo "image %(text)s is not in the engine" >&2; exit 1; }
# A container that never starts keeps the image from being pruned.
there %(holder)s || quietly docker create --name %(holder)s %(options)s "$image"
"""
LOAD = """\
if [ -z "$image" ]; then docker load --input %(archive)s; find_image; fi
"""
OTHERS = """\
# Workers and schedulers run in one generation only: those of others stop first.
for id in $(docker ps --all --quiet --filter label=dev.lastgood.unit=%(unit)s); do
    case "$(label "$id" role)" in worker|scheduler) ;; *) continue ;; esac
    [ "$(label "$id" generation)" != %(generation)s ] || continue
    quietly docker update --restart no "$id"
    quietly docker stop "$id"
done
"""
START = """\
# %(role)s %(number)s: one that is there is started, else it is made. It gets its name when it is complete.
name=%(name)s
if there "$name" && [ "$(label "$name" spec)" != %(spec)s ]; then
    quietly docker update --restart no "$name"
    quietly docker stop "$name"
    docker rename "$name" "$name.aside.$$"
fi
tried=0
while :; do
    if ! there "$name"; then
        new=$name.new.$$.$tried
%(create)s
        docker rename "$new" "$name"
    fi
    quietly docker update --restart always "$name"
    if quietly docker start "$name"; then break; fi
    quietly docker update --restart no "$name"
    tried=$((tried + 1))
    [ "$tried" -lt 10 ] || { echo "$name does not start" >&2; exit 1; }
    # Most likely somebody has its port: the next one is given another.
    docker rename "$name" "$name.aside.$$.$tried"
done
"""
PORT = """\
port=$((%(low)s + ($$ * 7 + tried * 101 + %(number)s) %% %(range)s))
"""
CREATE = """\
(
%(secrets)s    docker create --name "$new" %(options)s "$image"%(arguments)s
) >/dev/null
"""
SECRET = """\
    %(name)s=$(cat secrets/%(name)s; printf x); %(name)s=${%(name)s%%x}; export %(name)s
"""
CONFIG = """\
docker cp - "$new:%(path)s" <%(tar)s  # the files below config/, with their modes
"""
SECRET_FILES = """\
owner=$(docker container inspect --format '{{.Config.User}}' "$new")
owner=${owner%%%%:*}
case "${owner:-0}" in
    *[!0-9]*)
        owner=$(docker cp "$new:/etc/passwd" - | tar -xO | awk -F: -v u="$owner" '$1 == u { print $3 }')
        ;;
esac
tar --owner "+${owner:-0}" --group +0 --mode 0400 %(transform)s-C secrets -cf - %(names)s |
    docker cp - "$new:%(path)s"
"""
CONNECT = """\
docker network connect %(network)s "$new"
"""
ADDRESS = """\
ADDRESSES="$ADDRESSES %(address)s:$(label "$name" port)"
"""
READY = """\
# Until each web container answers.
if command -v curl >/dev/null; then ask() { curl --fail --silent --max-time 2 --output /dev/null "$1"; }
else ask() { wget -q -T 2 -O /dev/null "$1"; }
fi
for address in $ADDRESSES; do
    waited=0
    until ask "http://$address"%(path)s; do
        waited=$((waited + 1))
        [ "$waited" -le %(seconds)s ] || { echo "$address does not answer" >&2; exit 1; }
        sleep 1
    done
done
"""
