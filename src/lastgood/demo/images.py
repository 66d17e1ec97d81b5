"""The shop as container images: this Python, and on it the code of one release."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from lastgood.demo import interpreter
from lastgood.domain.image import Image
from lastgood.testing.images import ImageBuild, push
from lastgood.testing.registry_server import RegistryServer

HERE = Path(__file__).parent
NAME = "shop/storefront"
RELEASES = {"1": (), "2": ("extras.py",), "3": ("extras.py", "payments.py")}
"""Tag → the modules it has of the next release; everything else is the first one's."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURE = ARCHITECTURES.get(platform.machine(), platform.machine())
PLATFORM = f"linux/{ARCHITECTURE}"
PACKAGES = ("psycopg", "psycopg-binary", *(("typing-extensions",) if sys.version_info < (3, 13) else ()))
"""As pip names them: what the shop imports beyond the standard library, and what that needs."""
USER = "10001:10001"


def shop_layer() -> bytes:
    """What all releases stand on."""
    return interpreter.interpreter_layer(PACKAGES, ("shop.web", "shop.worker"), HERE)


def shop_image(layer: bytes, release: str) -> ImageBuild:
    """One release on ``layer``; a role's command is the role and its arguments."""
    sources = [file for file in (HERE / "shop").iterdir() if file.suffix in (".py", ".html")]
    changed = {name: HERE / "shop_next" / name for name in RELEASES[release]}
    files = {f"/app/shop/{file.name}": (changed.get(file.name, file).read_bytes(), 0o644) for file in sources}
    return ImageBuild(
        entrypoint=(str(interpreter.PROGRAM), "-B", "/app/shop"),
        env={**interpreter.ENVIRONMENT, "SHOP_HOST": "0.0.0.0", "SHOP_RELEASE": release},
        files=files,
        architecture=ARCHITECTURE,
        layers=(layer,),
        busybox=False,
        user=USER,
    )


def push_shop(registry: RegistryServer) -> dict[str, Image]:
    """Build all releases and bring them to ``registry``; by tag."""
    layer = shop_layer()
    return {tag: push(registry, f"{NAME}:{tag}", shop_image(layer, tag)) for tag in RELEASES}
