"""The files of an estate to begin with for a service that runs as containers behind HAProxy already."""

from __future__ import annotations

import json

from lastgood.domain.errors import InvalidInput
from lastgood.domain.image import ImageReference
from lastgood.domain.message import N_
from lastgood.domain.unit import NAME
from lastgood.estate.tree import ROOT

_LASTGOOD = """\
name: {name}
description: What we run, and where.

environments:              # in order of promotion: verified in one before it reaches the next
  - name: dev
  - name: staging
  - name: prod
    criteria_required: true

sites:
  us: {{region: us-east}}

waves: {{canary: us}}        # once there are more sites: this one first, and alone

drivers:
  docker: {{host: "unix:///var/run/docker.sock"}}
  haproxy: {{sockets: [/run/haproxy/admin.sock], state: /var/lib/haproxy/lastgood}}
  # registry:
  #   hosts:
  #     {host}: {{username: ci, password: {{env: REGISTRY_PASSWORD}}}}
"""
_SERVICE = """\
owner: {name}-team
description: What it does, in a sentence.

image: "{repository}:{{{{ values.version }}}}"
roles:
  web:
    replicas: 2
    ready: {{path: {ready}, timeout: 30s}}
    stop_grace: 10s
  # worker: {{command: [/app/worker]}}         # in one generation at a time, never in two
runtime:
  driver: docker
  roles:
    web: {{port: {port}}}                       # where it listens inside; memory, cpus, volumes … go here too
traffic: {{driver: haproxy, listen: "127.0.0.1:{{{{ values.port }}}}", backend: {service}}}
canary:
  - {{percent: 5, watch: 30s}}
  - {{percent: 25, watch: 30s}}

signals:
  answers: {{kind: ratio, driver: haproxy}}    # responses other than 5xx
criteria:
  answers: {{signal: answers, limit: 0.99, window: 5s, least_sample: 20}}
windows: {{watch: 30s, guard: 10m, verify: 10s, recovery: 5m}}
keep: {{restore_points: 5, image: archive}}
environments: [prod]                          # at first; add dev and staging, and a release has to pass them
"""
_VALUES = """\
# What holds everywhere, unless environments/<name>.yaml, sites/<name>.yaml or
# environments/<name>/<site>.yaml say otherwise (the later one wins).
version: {version}
port: {listen}
"""


def image_files(name: str, service: str, image: str, port: int, listen: int, ready: str) -> dict[str, str]:
    """Path → text. ``image`` is what runs now, with its tag; ``port`` where it listens inside its container,
    ``listen`` where HAProxy has the customers.

    Raises InvalidInput when the image or the service's name can't be used.
    """
    reference = ImageReference.parse(image)
    if not NAME.fullmatch(service):
        raise InvalidInput(
            N_("'{name}' is not a name that can be used here"),
            todo=N_("Use lower-case letters, digits and hyphens, at most 63."),
            name=service,
        )
    folder = f"services/{service}"
    values = {"version": json.dumps(reference.tag or "latest"), "listen": listen}
    parts = {"repository": reference.repository, "ready": json.dumps(ready), "port": port, "service": service}
    return {
        ".gitignore": "/run/\n/.lastgood/\n",
        f"{folder}/service.yaml": _SERVICE.format(name=name, **parts),
        f"{folder}/values.yaml": _VALUES.format(**values),
        # Last: a directory with lastgood.yaml is a whole estate, so what stopped half way can be done again.
        ROOT: _LASTGOOD.format(name=name, host=reference.host),
    }
