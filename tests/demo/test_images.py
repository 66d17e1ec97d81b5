"""The shop as an image: the same bytes whoever builds it, one layer for all releases."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile

import pytest

from lastgood.demo import images

DIGEST = (
    "import hashlib; from lastgood.demo.images import shop_layer as l; print(hashlib.sha256(l()).hexdigest())"
)


@pytest.fixture(scope="module")
def layer() -> bytes:
    return images.shop_layer()


def test_another_process_builds_the_same_bytes(layer: bytes) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", DIGEST], env=environment, stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().strip() == hashlib.sha256(layer).hexdigest()


def test_it_is_small_and_nothing_in_it_leads_outside(layer: bytes) -> None:
    assert len(layer) < 120_000_000
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        entries = tar.getmembers()
    assert {(e.mtime, e.uid, e.gid) for e in entries} == {(0, 0, 0)}
    assert all(e.isfile() or e.isdir() for e in entries)
    assert {e.name.split("/")[0] for e in entries if e.isfile()} <= {"usr", "etc", "lib", "lib64"}


def test_releases_share_all_but_their_code(layer: bytes) -> None:
    built = {tag: images.shop_image(layer, tag).built() for tag in images.RELEASES}
    assert len({made.digest for made in built.values()}) == 3
    shared = set.intersection(*(set(made.blobs) for made in built.values()))
    own = [len(made.blobs[digest]) for made in built.values() for digest in set(made.blobs) - shared]
    assert len(shared) == 1
    assert max(own) < 20_000
