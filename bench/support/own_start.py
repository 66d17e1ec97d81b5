"""What the containers need for themselves: from the engine's start to the first good answer of each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import docker

from bench.support.image_world import ImageWorld, free_base, milliseconds_to_answers


def own_starts(made: ImageWorld, word: str, times: int) -> list[float]:
    """Milliseconds of each time; two stopped containers of an image are told to start at the same moment."""
    client = docker.APIClient(made.engine.host, version="1.41")
    base = free_base()
    ports = (base + 1, base + 2)
    limits = client.create_host_config(network_mode="host", mem_limit="64m")
    ids = [
        client.create_container(made.image(word), environment={"PORT": str(port)}, host_config=limits)["Id"]
        for port in ports
    ]
    found = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(times):
            found.append(milliseconds_to_answers(lambda: list(pool.map(client.start, ids)), ports))
            for id in ids:
                client.stop(id)
    for id in ids:
        client.remove_container(id)
    client.close()
    return found
