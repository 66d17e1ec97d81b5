"""The part of a restore bundle that takes a database back by hand: shell and texts that all servers share."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lastgood.domain.digest import plain
from lastgood.ports.bundles import DUMP
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.keeping import Cut

KEY = "LASTGOOD_KEY_FILE"
TOOLS = ("age", "awk", "date", "mktemp", "sha256sum")

_HEAD = """\
#!/bin/sh
# Puts a copy of the database {database} beside it, and exchanges the two when you say so. Without lastgood.
# 在数据库 {database} 旁边装入一份副本,由您决定是否切换;不需要 lastgood。
#
#   {key}=/path/to/seal.key ./restore.sh
#       loads the copy and compares it; the live database is only read
#       装入副本并核对;正在使用的数据库只被读取
#   ./restore.sh swap COPY
#       the copy takes the live name; the failed database is kept under another one
#       副本改用正式名称;出问题的数据库改名保留
#   ./restore.sh revert NAME
#       runs one reverse script on the live database: what was written since stays
#       在正在使用的数据库上执行一个逆向脚本:之后写入的数据保留
#
# {connection}
# It drops nothing. Every command is printed before it runs. Read it before you run it; 运行前请先读一遍。
set -eu
umask 077
cd "$(dirname "$0")"
export LC_ALL=C
live={live}
stem={stem}
say() {{ printf '\\n== %s\\n' "$*"; }}
die() {{ printf 'stopped: %s\\n' "$*" >&2; exit 1; }}
told() {{ printf '+ %s\\n' "$*" >&2; }}
stamp() {{ date -u +%Y%m%d_%H%M%S; }}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
"""
_COMMON = """
needed() {{
    for tool in {tools}; do
        command -v "$tool" >/dev/null 2>&1 || die "$tool is not installed / 未安装 $tool"
    done
    say "The files are whole / 校验文件完整性"
    told sha256sum -c --quiet SHA256SUMS
    sha256sum -c --quiet SHA256SUMS ||
        die "files are damaged: use another copy of this bundle / 文件损坏,请换一份恢复包"
    key="${{{key}:-}}"
    [ -n "$key" ] && [ -r "$key" ] ||
        die "set {key} to the key file (kept apart from this bundle) / 请用 {key} 指定密钥文件"
}}
opened() {{
    told age -d -i "$key" {dump}
    age -d -i "$key" {dump} || : >"$work/closed"
}}
# Whether the key was what failed: a tool that ends early has nobody to write to any more, either.
opens() {{ [ ! -e "$work/closed" ] || age -d -i "$key" {dump} >/dev/null; }}
# Rows by table: those of the cut, and those that a database has now.
compared() {{
    awk -F '\\t' -v what="$2" '
        NR == FNR {{ cut[$1] = $2; next }}
        {{ now[$1] = $2 }}
        END {{
            for (t in cut) {{
                has = (t in now) ? now[t] : "no table"
                if (has != cut[t]) {{
                    wrong++
                    printf "  %s: %s at the cut, %s %s\\n", t, cut[t], has, what
                    if (has ~ /^[0-9]+$/) more += has - cut[t] > 0 ? has - cut[t] : cut[t] - has
                }}
            }}
            for (t in now) if (!(t in cut)) printf "  %s: not there at the cut, %s %s\\n", t, now[t], what
            printf "%d\\n", more >counted
            exit wrong > 0
        }}' counted="$work/more" rows.tsv "$1"
}}
"""
_MAIN = """
case "${{1:-load}}" in
    load) load ;;
    swap) [ -n "${{2:-}}" ] || die "which copy? ./restore.sh swap COPY"; swap "$2" ;;
    revert) [ -n "${{2:-}}" ] || die "which one? {back}"; revert "$2" ;;
    *) die "use: ./restore.sh, ./restore.sh swap COPY, ./restore.sh revert NAME" ;;
esac
"""
_README = """\
DATABASE OF A RESTORE BUNDLE · 恢复包中的数据库

resource     {resource}
database     {database}
as it was    {created}
server       {version}
log position {cut}
schema       {fingerprint}
migrations   {migrations}
then run on the copy: {forward}

Going back by script keeps what customers wrote since; try that first if it is a migration that has to go:

  ./restore.sh revert NAME          with NAME one of: {back}

  What was written into a column or table that the script drops goes with it: keep a dump of those before.
  A script of the one line "-- lastgood: undo rows" does nothing by hand. Read it: revert/NAME.sql

Going back to the copy:

  {key}=/path/to/seal.key ./restore.sh
  ./restore.sh swap COPY

  What was written after the time above is NOT in the copy. It stays in the failed database, which is kept
  under another name; the script says how many rows there seem to be. Copy back by hand what you need.
  Stop the programs that write before you swap. It needs: {needs}

按脚本回退会保留之后写入的数据,如果只是要撤掉某个迁移,请先用它:./restore.sh revert 名称
脚本删除的列或表里后来写入的值会一起消失,请先导出。只有一行 "-- lastgood: undo rows" 的脚本手工执行不起作用。

恢复到副本:先运行 ./restore.sh 装入并核对,再运行 ./restore.sh swap 副本名。
上述时间之后写入的数据不在副本里,而是留在改名保留的出问题的数据库中;脚本会给出估计的行数,需要的请手工拷回。
切换前请先停掉所有写入的程序。脚本不会删除任何东西。

Files · 文件
  restore.sh   the script / 脚本
  {dump}     the dump, sealed with age; the key is kept apart / 用 age 密封的导出文件,密钥另行保管
  rows.tsv     rows by table at the cut / 快照时刻各表行数
  count.sql    counts them again / 重新计数
  notes.json   what was seen at the cut / 快照时刻的记录
  deploy/      migrations that the copy gets after it is loaded / 装入后在副本上执行的迁移
  revert/      reverse scripts / 逆向脚本
  SHA256SUMS   digests of all these / 以上文件的摘要
"""


@dataclass(frozen=True)
class Told:
    """What is said of one database: its name, what ``cut`` holds, and the scripts that go with it.

    ``connection`` tells how to say password and server; ``stem`` begins the names of copies.
    """

    database: str
    stem: str
    cut: Cut
    connection: str
    forward: Sequence[MigrationScript]
    back: Sequence[MigrationScript]
    needs: tuple[str, ...]


def files(told: Told, body: str, count: str) -> Mapping[str, bytes]:
    """All but the dump. ``body`` defines the functions load, swap and revert; ``count`` prints, by table, its
    name as in the cut's rows and how many it has.
    """
    rows = "".join(f"{_one_line(table)}\t{number}\n" for table, number in sorted(told.cut.rows.items()))
    notes = {"snapshot": plain(told.cut.snapshot), "revisions": told.cut.revisions, "rows": told.cut.rows}
    texts = {
        "restore.sh": script(told, body),
        "README.txt": readme(told),
        "rows.tsv": rows,
        "count.sql": count,
        "notes.json": json.dumps(notes, indent=1, ensure_ascii=False) + "\n",
        **{f"deploy/{m.name}.sql": m.deploy for m in told.forward},
        **{f"revert/{m.name}.sql": m.revert for m in told.back},
    }
    return {path: text.encode() for path, text in texts.items()}


def plain_name(database: str) -> str:
    """How the names of its copies begin: they are typed by hand."""
    return re.sub(r"\W+", "_", database)


def script(told: Told, body: str) -> str:
    head = _HEAD.format(
        database=told.database, key=KEY, connection=told.connection,
        live=shlex.quote(told.database), stem=shlex.quote(told.stem),
    )  # fmt: skip
    common = _COMMON.format(tools=" ".join(told.needs), key=KEY, dump=DUMP)
    return head + common + body + _MAIN.format(back=_names(told.back))


def readme(told: Told) -> str:
    snapshot = told.cut.snapshot
    return _README.format(
        resource=snapshot.resource, database=told.database,
        created=f"{snapshot.created_at:%Y-%m-%d %H:%M:%S %Z}",
        version=snapshot.server_version, cut=snapshot.cut, fingerprint=snapshot.fingerprint,
        migrations=", ".join(name for name, _ in told.cut.revisions) or "-",
        forward=_names(told.forward), back=_names(told.back), key=KEY, dump=DUMP, needs=", ".join(told.needs),
    )  # fmt: skip


def _names(migrations: Sequence[MigrationScript]) -> str:
    return ", ".join(m.name for m in migrations) or "-"


def _one_line(table: str) -> str:
    return table.replace("\t", " ").replace("\n", " ")
