"""The shop as container images: this Python, and on it the code of one release."""

from __future__ import annotations

import platform
from pathlib import Path

from lastgood.demo import interpreter
from lastgood.domain.image import Image
from lastgood.testing.images import ImageBuild, push
from lastgood.testing.registry_server import RegistryServer

HERE = Path(__file__).parent
NAME = "shop/storefront"
RELEASES = {"1": ("shop",), "2": ("shop", "shop_next")}
"""Tag → folders laid one over the other, as ``estate`` does with the artifact."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
USER = "10001:10001"


def shop_layer() -> bytes:
    """What all releases stand on."""
    return interpreter.interpreter_layer(
        ("psycopg", "psycopg-binary", "typing-extensions"), ("shop.web", "shop.worker"), HERE
    )


def shop_image(layer: bytes, release: str) -> ImageBuild:
    """One release on ``layer``; a role's command is the role and its arguments."""
    files = {
        f"/app/shop/{file.name}": (file.read_bytes(), 0o644)
        for folder in RELEASES[release]
        for file in sorted((HERE / folder).iterdir())
        if file.suffix in (".py", ".html")
    }
    return ImageBuild(
        entrypoint=(str(interpreter.PROGRAM), "-B", "/app/shop"),
        env={**interpreter.ENVIRONMENT, "SHOP_HOST": "0.0.0.0"},
        files=files,
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        layers=(layer,),
        busybox=False,
        user=USER,
    )


def push_shop(registry: RegistryServer) -> dict[str, Image]:
    """Build all releases and bring them to ``registry``; by tag."""
    layer = shop_layer()
    return {tag: push(registry, f"{NAME}:{tag}", shop_image(layer, tag)) for tag in RELEASES}
