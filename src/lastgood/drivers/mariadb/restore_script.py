"""The shell by which a database is taken back by hand, filled with ``%``."""

from __future__ import annotations

CONNECTION = (
    "Password: MYSQL_PWD or ~/.my.cnf. Another server or user: MYSQL_HOST, MYSQL_TCP_PORT, MYSQL_USER."
)

BODY = r"""
%(connection)s
copy= failed=
# Waits for a table no longer than that.
guard='SET SESSION lock_wait_timeout = 15;'

session() { base=$1; shift; mariadb "$@" %(words)s ${base:+"$base"}; }
# What it answers, and what it does.
ask() { told "mariadb $1: $2"; printf '%%s\n' "$2" | session "$1" --batch --raw --skip-column-names; }
run() { told "mariadb $1: $2"; printf '%%s\n' "$guard $2" | session "$1"; }
quoted() { printf '`%%s`' "$(printf '%%s' "$1" | sed 's/`/``/g')"; }
# A quoted name inside of a text.
text_of() { quoted "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g"; }
text() { printf "'%%s'" "$(printf '%%s' "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g")"; }
there() {
    [ -n "$(ask "" "SELECT 1 FROM information_schema.schemata WHERE schema_name = $(text "$1")")" ]
}
# A table that is not there any more is told of, and the others are counted.
counted() {
    told "mariadb $1 < count.sql"
    session "$1" --batch --raw --skip-column-names --force <count.sql || :
}
make() {
    like=$(ask "" "SELECT CONCAT('CHARACTER SET ', default_character_set_name,
            ' COLLATE ', default_collation_name)
        FROM information_schema.schemata WHERE schema_name = $(text "$live")")
    run "" "CREATE DATABASE $(quoted "$1") $like;"
}
deploy() {
    told "mariadb $copy < deploy/$1.sql"
    session "$copy" <"deploy/$1.sql"
    run "$copy" "INSERT INTO lastgood_revisions (name, digest, \`key\`, deployed_at)
        VALUES ('$1', '$2', 'bundle', UTC_TIMESTAMP(6));"
}

load() {
    needed
    copy="${stem}_bundle_$(stamp)"
    say "A new database beside the live one: $copy / 在旁边新建数据库"
    make "$copy"

    say "Load it / 装入"
    told "mariadb $copy"
    loaded=yes
    opened | session "$copy" || loaded=no
    opens ||
        die "the key does not open the dump; $copy is not whole / 密钥不能打开导出文件"
    [ "$loaded" = yes ] ||
        die "it does not load; $copy is not whole, the live database was not touched / 装入失败"

    say "Is it what was there at the cut? / 与快照时刻核对"
    counted "$copy" >"$work/copy"
    compared "$work/copy" "in the copy" ||
        die "$copy is not what was there at the cut: use another bundle / 副本与快照不符,请换一份恢复包"
    echo "every table has the rows it had at the cut / 各表行数与快照一致"
%(deploy)s    run "$copy" "CREATE TABLE lastgood_bundle_whole (id int PRIMARY KEY) ENGINE=InnoDB;"
    since
    say "Next, once nobody writes any more / 停止写入后执行:  ./restore.sh swap $copy"
}

since() {
    there "$live" || return 0
    say "Written since the cut, not in the copy / 快照之后写入、副本中没有的数据"
    counted "$live" >"$work/live"
    compared "$work/live" "now" || :
    echo "At least $(cat "$work/more") rows differ in number; rows that were changed can't be counted here."
    echo "They stay in the failed database."
    echo "行数至少相差如上;被修改的行无法计数。这些数据留在出问题的数据库中。"
}

# The renames of all tables from one database to another.
renames() {
    ask "" "SET SESSION group_concat_max_len = 16777216;
        SELECT COALESCE(GROUP_CONCAT(CONCAT('\`', REPLACE(table_schema, '\`', '\`\`'), '\`.\`',
            REPLACE(table_name, '\`', '\`\`'), '\` TO $(text_of "$2").\`',
            REPLACE(table_name, '\`', '\`\`'), '\`')
            ORDER BY table_name SEPARATOR ', '), '')
        FROM information_schema.tables WHERE table_schema = $(text "$1")
        AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE')"
}

swap() {
    copy=$1
    [ "$(ask "" "SELECT 1 FROM information_schema.tables WHERE table_schema = $(text "$copy")
        AND table_name = 'lastgood_bundle_whole'")" = 1 ] ||
        die "$copy was not loaded whole: run ./restore.sh first / 副本不完整,请先运行 ./restore.sh"
    there "$live" || make "$live"
    triggers=$(ask "" "SELECT GROUP_CONCAT(trigger_schema, '.', trigger_name SEPARATOR ', ')
        FROM information_schema.triggers WHERE trigger_schema IN ($(text "$live"), $(text "$copy"))")
    [ "$triggers" = NULL ] ||
        die "the server does not swap tables that have triggers: $triggers / 有触发器的表不能切换"
    since
    failed="${stem}_failed_$(stamp)"
    make "$failed"

    say "Numbers that were handed out since / 沿用已发出的自增编号"
    # They are known elsewhere: at a payment provider, in the ERP.
    ask "" "SELECT CONCAT('ALTER TABLE $(text_of "$copy").\`', REPLACE(l.table_name, '\`', '\`\`'),
            '\` AUTO_INCREMENT = ', l.auto_increment + 1000, ';')
        FROM information_schema.tables l JOIN information_schema.tables c
        ON c.table_schema = $(text "$copy") AND c.table_name = l.table_name
        WHERE l.table_schema = $(text "$live") AND l.auto_increment IS NOT NULL
        AND c.auto_increment IS NOT NULL" >"$work/numbers.sql"
    run "$copy" "$(cat "$work/numbers.sql")"

    say "Swap all tables at once / 一次切换所有表"
    run "$copy" "DROP TABLE lastgood_bundle_whole;"
    away=$(renames "$live" "$failed")
    back=$(renames "$copy" "$live")
    run "" "RENAME TABLE $away${away:+, }$back;" || {
        run "$copy" "CREATE TABLE lastgood_bundle_whole (id int PRIMARY KEY) ENGINE=InnoDB;"
        die "the tables were not swapped, nothing was changed / 切换未执行,没有任何改动"
    }
    say "Done: the tables of $live are as they were at the cut; the failed ones are in $failed / 完成"
    echo "Views, routines and events of $live were left as they are. 视图、存储过程和事件保持不变。"
    echo "What was written since is in $failed: drop it, and $copy, when nobody needs them any more."
    echo "之后写入的数据在 $failed 中,确认不需要后再删除。"
}

revert() {
    case "$1" in */*) die "no such script" ;; esac
    [ -f "revert/$1.sql" ] || die "there is no revert/$1.sql / 没有这个脚本"
    say "Run revert/$1.sql on $live / 在 $live 上执行"
    told "mariadb --verbose $live < revert/$1.sql"
    session "$live" --verbose <"revert/$1.sql"
    run "$live" "DELETE FROM lastgood_revisions WHERE name = '$1';"
    say "Done / 完成"
}
"""
