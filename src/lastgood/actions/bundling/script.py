"""The text of a restore bundle: ``restore.sh`` and ``README.txt``. Pure."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.domain.digest import short
from lastgood.domain.release import Release
from lastgood.ports.bundles import BundlePart

KEY = "LASTGOOD_KEY_FILE"
TOOLS = ("sha256sum", "mktemp")

_HEAD = """\
#!/bin/sh
# {title}
# 把 {unit} 恢复到发布版本 {release},不需要 lastgood。
#
# Usage / 用法:  {usage}
# Read it before you run it; it may be run again. 运行前请先读一遍;可以重复运行。
set -eu
umask 077
cd "$(dirname "$0")"
say() {{ printf '\\n== %s\\n' "$*"; }}
die() {{ printf 'stopped: %s\\n' "$*" >&2; exit 1; }}
"""
_TOOLS = """
say "#. Needed tools are here / 检查所需工具"
for tool in {tools}; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not installed / 未安装 $tool"
done

say "#. The files are whole / 校验文件完整性"
sha256sum -c --quiet SHA256SUMS ||
    die "files are damaged: use another copy of this bundle / 文件损坏,请换一份恢复包"
"""
_SECRETS = """
say "#. Open the secrets / 解开密钥"
key="${{{key}:-}}"
[ -n "$key" ] && [ -r "$key" ] ||
    die "set {key} to the key file (kept apart from this bundle) / 请用 {key} 指定密钥文件"
trap 'rm -rf secrets' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p secrets
{lines}
"""
_END = """
say "Done: {unit} is on {release} / 完成"
echo "Look yourself that customers are served. lastgood does not know of this: once it is back, run"
echo "请自行确认业务正常。lastgood 恢复后它并不知道这次操作,请运行:"
echo "  lastgood drift {unit}"
"""
_DATABASE = """\
echo "The database was not touched. To take it back, read / 数据库未改动,恢复请读: {directory}/README.txt"
"""
_README = """\
RESTORE BUNDLE · 恢复包

unit      {unit}
release   {release}
point     {point}
commit    {commit}
made      {made}

What it is
  Everything that takes this unit back to the state above when lastgood itself is dead or its state is lost:
  the image, the configuration, the sealed secrets, and a script of plain commands. Run:

    {usage}

  {secrets}
  It starts the old generation, stops workers of others, and sends the traffic to it. It deletes nothing.
  Needed on PATH: {needs}
{databases_en}
这是什么
  当 lastgood 本身不可用、或其状态目录丢失时,用它把该单元恢复到上面的状态:镜像、配置、密封的密钥,
  以及一个只用普通命令的脚本。它启动旧的一代,停止其他代的 worker,并把流量切回来;不会删除任何东西。
{databases_zh}
Files · 文件
  restore.sh     the script / 脚本
  image.tar      the image, for "docker load" / 镜像
  config/        the configuration / 配置
  sealed/        secrets, sealed with age / 用 age 密封的密钥
  databases/     dumps of databases, sealed, with a script each / 数据库的密封导出文件及各自的脚本
  release.json   the release as lastgood knew it / 发布版本的完整描述
  SHA256SUMS     digests of all files / 所有文件的摘要
"""


@dataclass(frozen=True)
class Told:
    """What the texts are filled with; ``made`` is a time, ``point`` the restore point, ``databases`` the
    directories of those that can be taken back by hand.
    """

    release: Release
    point: str
    made: str
    databases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        key = f"{KEY}=/path/to/seal.key " if self.release.secrets else ""
        return f"{key}./restore.sh"


def needs(parts: Sequence[BundlePart], release: Release) -> tuple[str, ...]:
    own = (*TOOLS, "age") if release.secrets else TOOLS
    return tuple(sorted({*own, *(tool for part in parts for tool in part.needs)}))


def script(told: Told, start: BundlePart, route: BundlePart | None) -> str:
    """``restore.sh``: checks first, then the same order as a rollback: start, then traffic."""
    release = told.release
    unit, name = str(release.unit), short(release.digest)
    parts = [start, *([route] if route else [])]
    title = f"Takes {unit} back to release {name} without lastgood."
    text = [
        _HEAD.format(title=title, unit=unit, release=name, usage=told.usage),
        _TOOLS.format(tools=" ".join(needs(parts, release))),
    ]
    if release.secrets:
        lines = "\n".join(_unseal(secret.name) for secret in release.secrets)
        text.append(_SECRETS.format(key=KEY, lines=lines))
    text += [_section("#. Start the old generation / 启动旧的一代", start)]
    if route is not None:
        text.append(_section("#. Send the traffic to it / 切回流量", route))
    text.append(_END.format(unit=unit, release=name))
    if told.databases:
        text.append("".join(_DATABASE.format(directory=directory) for directory in told.databases))
    number = itertools.count(1)
    return re.sub(r'^say "#\.', lambda _: f'say "{next(number)}.', "".join(text), flags=re.MULTILINE)


def readme(told: Told, needed: Sequence[str]) -> str:
    release = told.release
    revisions = ", ".join(f"{d.resource} {d.revision or '-'}" for d in release.databases)
    english = f"  It does not touch databases. This release ran on: {revisions}\n" if revisions else ""
    chinese = f"  脚本不会改动数据库。该发布版本当时对应的数据库结构:{revisions}\n" if revisions else ""
    english += "".join(f"  To take the database back: {d}/README.txt\n" for d in told.databases)
    chinese += "".join(f"  恢复数据库见:{d}/README.txt\n" for d in told.databases)
    sealed = "Secrets are opened with the key file, which is kept apart, and are removed again at the end."
    return _README.format(
        unit=release.unit, release=release.digest, point=told.point, commit=release.commit or "-",
        made=told.made, usage=told.usage, needs=", ".join(needed),
        secrets=sealed if release.secrets else "It needs no secrets.",
        databases_en=english, databases_zh=chinese,
    )  # fmt: skip


def _section(title: str, part: BundlePart) -> str:
    return "\n".join(["", f'say "{title}"', *part.lines, ""])


def _unseal(name: str) -> str:
    return f'age -d -i "$key" {shlex.quote(f"sealed/{name}.age")} > {shlex.quote(f"secrets/{name}")}'
