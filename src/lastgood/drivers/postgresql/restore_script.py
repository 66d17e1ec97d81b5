"""The shell by which a database is taken back by hand, filled with ``%``."""

from __future__ import annotations

CONNECTION = "Password: PGPASSWORD or ~/.pgpass. Another server or user: PGHOST, PGPORT, PGUSER."

BODY = r"""
%(connection)sexport PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}"
export PGOPTIONS="${PGOPTIONS:-} -c row_security=off -c statement_timeout=0"
# Databases are made and renamed from another one.
main="${MAINTENANCE_DATABASE:-postgres}"
whole='lastgood bundle: loaded whole'
copy= failed= closed=
# A name with a = in it would be taken for settings.
at=%(at)s

session() {
    base=$1; shift
    [ "$base" != "$live" ] || base=$at
    psql -X -q -v ON_ERROR_STOP=1 -v live="$live" -v copy="$copy" -v failed="$failed" -v whole="$whole" \
        -d "$base" "$@"
}
# What it answers, and what it does; psql prints the latter as the server gets it.
ask() { told "psql -d $1: $2"; printf '%%s\n' "$2" | session "$1" -A -t; }
run() { told "psql -d $1"; printf '%%s\n' "$2" | session "$1" -e; }
there() {
    [ -n "$(echo "SELECT 1 FROM pg_database WHERE datname = :'name'" | session "$main" -A -t -v name="$1")" ]
}
# A table that is not there any more is told of, and the others are counted.
counted() {
    base=$1; [ "$base" != "$live" ] || base=$at
    told "psql -d $1 -f count.sql"
    psql -X -q -A -t -F "$(printf '\t')" -d "$base" -f count.sql
}
deploy() {
    one=--single-transaction
    [ "$3" = whole ] || one=
    told "psql $one -d $copy -f deploy/$1.sql"
    session "$copy" $one -f "deploy/$1.sql" \
        -c "INSERT INTO lastgood.revisions (name, digest, key) VALUES ('$1', '$2', 'bundle')"
}

load() {
    needed
    copy="${stem}_bundle_$(stamp)"
    say "A new database beside the live one: $copy / 在旁边新建数据库"
    if there "$live"; then
        version=$(ask "$main" "SHOW server_version_num")
        kind="'c'" locale="''"
        [ "$version" -lt 150000 ] || { kind=datlocprovider locale=daticulocale; }
        [ "$version" -lt 170000 ] || locale=datlocale
        ask "$main" "SELECT format('CREATE DATABASE %%I TEMPLATE template0 OWNER %%I', :'copy',
                pg_get_userbyid(datdba))
            || format(' ENCODING %%L LC_COLLATE %%L LC_CTYPE %%L',
                pg_encoding_to_char(encoding), datcollate, datctype)
            || CASE $kind WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %%L', $locale)
            WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %%L', $locale) ELSE '' END || ';'
            FROM pg_database WHERE datname = :'live'" >"$work/make.sql"
    else
        echo 'CREATE DATABASE :"copy" TEMPLATE template0;' >"$work/make.sql"
    fi
    run "$main" "$(cat "$work/make.sql")"
    # It holds what customers wrote.
    run "$main" 'REVOKE CONNECT ON DATABASE :"copy" FROM PUBLIC;'

    say "Load it / 装入"
    told "pg_restore --exit-on-error --no-subscriptions -d $copy"
    loaded=yes
    opened | pg_restore --exit-on-error --no-subscriptions -d "$copy" || loaded=no
    opens ||
        die "the key does not open the dump; $copy is not whole / 密钥不能打开导出文件"
    [ "$loaded" = yes ] ||
        die "it does not load; $copy is not whole, the live database was not touched / 装入失败"
    run "$copy" "SELECT format('DROP PUBLICATION %%I', pubname) FROM pg_publication
        WHERE pubname ~ '%(ours)s' \\gexec"

    say "Is it what was there at the cut? / 与快照时刻核对"
    counted "$copy" >"$work/copy"
    compared "$work/copy" "in the copy" ||
        die "$copy is not what was there at the cut: use another bundle / 副本与快照不符,请换一份恢复包"
    echo "every table has the rows it had at the cut / 各表行数与快照一致"
%(deploy)s    run "$main" "COMMENT ON DATABASE :\"copy\" IS :'whole';"
    run "$copy" "ANALYZE;"
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

open_again() {
    [ -n "$closed" ] || return 0
    if there "$failed"; then run "$main" 'ALTER DATABASE :"failed" ALLOW_CONNECTIONS true;'
    else run "$main" 'ALTER DATABASE :"live" ALLOW_CONNECTIONS true;'
    fi
    closed=
}

swap() {
    copy=$1
    [ "$(ask "$main" "SELECT 1 FROM pg_database WHERE datname = :'copy'
        AND shobj_description(oid, 'pg_database') = :'whole'")" = 1 ] ||
        die "$copy was not loaded whole: run ./restore.sh first / 副本不完整,请先运行 ./restore.sh"
    if ! there "$live"; then
        run "$main" 'ALTER DATABASE :"copy" RENAME TO :"live";'
        say "Done: there was no database $live; the copy is it now / 完成"
        return
    fi
    failed="${stem}_failed_$(stamp)"
    # What a run that died left closed.
    run "$main" 'ALTER DATABASE :"live" ALLOW_CONNECTIONS true;'
    since

    say "Settings, rights and numbers of the live database / 沿用设置、权限与序列"
    run "$main" "SELECT format('ALTER %%sDATABASE %%I SET %%s = %%s',
        CASE WHEN s.setrole = 0 THEN '' ELSE format('ROLE %%I IN ', r.rolname) END, :'copy',
        split_part(c, '=', 1),
        CASE WHEN split_part(c, '=', 1) IN ('search_path', 'temp_tablespaces',
            'session_preload_libraries', 'local_preload_libraries')
        THEN replace(substr(c, strpos(c, '=') + 1), '\"\"', '''''')
        ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END)
        FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
        WHERE d.datname = :'live' \\gexec"
    run "$main" 'REVOKE ALL ON DATABASE :"copy" FROM PUBLIC;'
    run "$main" "SELECT format('GRANT %%s ON DATABASE %%I TO %%s', a.privilege_type, :'copy',
        CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
        WHERE d.datname = :'live' \\gexec"
    # Numbers that were handed out since are known elsewhere: at a payment provider, in the ERP.
    ask "$live" "SELECT format(
        'SELECT setval(format(''%%%%I.%%%%I'', schemaname, sequencename)::regclass, %%s)
        FROM pg_sequences WHERE schemaname = %%L AND sequencename = %%L;',
        CASE WHEN increment_by > 0 THEN least(max_value, last_value::numeric + 1000 * increment_by)
        ELSE greatest(min_value, last_value::numeric + 1000 * increment_by) END, schemaname, sequencename)
        FROM pg_sequences WHERE last_value IS NOT NULL" >"$work/numbers.sql"
    run "$copy" "$(cat "$work/numbers.sql")" >/dev/null

    say "Close $live and swap the names / 关闭并切换名称"
    trap 'open_again; rm -rf "$work"' EXIT
    closed=yes
    run "$main" 'ALTER DATABASE :"live" ALLOW_CONNECTIONS false;'
    run "$main" "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'live';" >/dev/null
    run "$main" 'BEGIN;
ALTER DATABASE :"live" RENAME TO :"failed";
ALTER DATABASE :"copy" RENAME TO :"live";
COMMIT;'
    open_again
    run "$main" "SELECT format('COMMENT ON DATABASE %%I IS %%L', :'live',
            shobj_description(oid, 'pg_database'))
        FROM pg_database WHERE datname = :'failed' \\gexec"
    say "Done: $live is as it was at the cut; the failed database is $failed / 完成"
    ask "$main" "SELECT 'replication slot ' || slot_name || ' stays with the failed database and keeps log'
        FROM pg_replication_slots WHERE database = :'failed'"
    echo "What was written since is in $failed: drop it, and what stays with it, when nobody needs it."
    echo "之后写入的数据在 $failed 中,确认不需要后再删除。"
}

revert() {
    case "$1" in */*) die "no such script" ;; esac
    [ -f "revert/$1.sql" ] || die "there is no revert/$1.sql / 没有这个脚本"
    say "Run revert/$1.sql on $live / 在 $live 上执行"
    one=--single-transaction
    if grep -q '^-- lastgood: no transaction' "revert/$1.sql"; then one=; fi
    told "psql $one -d $live -f revert/$1.sql"
    session "$live" -e $one -f "revert/$1.sql" -c "DELETE FROM lastgood.revisions WHERE name = '$1'"
    say "Done / 完成"
}
"""
