"""How many more sessions a server takes for one user: the nearest of its limits."""

from __future__ import annotations

from lastgood.drivers.postgresql.connection import Connection, Server, one

_MINE = """
SELECT rolconnlimit, rolsuper FROM pg_roles WHERE rolname = current_user
"""
_DATABASE = """
SELECT datconnlimit FROM pg_database WHERE datname = current_database()
"""
_SETTING = """
SELECT coalesce(sum(setting::int), 0) FROM pg_settings WHERE name = ANY(%s)
"""
# Others' rows hide what kind of session they are from a user without rights: those count as clients.
_SESSIONS = """
SELECT count(*),
       count(*) FILTER (WHERE usename = current_user),
       count(*) FILTER (WHERE datname = current_database())
FROM pg_stat_activity
WHERE coalesce(backend_type, 'client backend') = 'client backend'
  AND datid IS NOT NULL AND pid <> pg_backend_pid()
"""
RESERVED = ["superuser_reserved_connections", "reserved_connections"]
"""The last ways in, for people who mend; a superuser's application must not take them either."""


def free_connections(server: Server) -> int:
    """Never negative. ``CONNECTION LIMIT`` of role and database count, but not for a superuser."""
    with server.reading() as connection:
        return max(0, min(_limits(connection)))


def _limits(connection: Connection) -> list[int]:
    row = connection.execute(_SESSIONS).fetchone()
    assert row is not None, "an aggregate always answers with a row"
    everybody, mine, here = (int(count) for count in row)
    total = int(one(connection, _SETTING, ["max_connections"]))
    reserved = int(one(connection, _SETTING, RESERVED))
    found = [total - reserved - everybody]
    role = connection.execute(_MINE).fetchone()
    of_role, superuser = (int(role[0]), bool(role[1])) if role else (-1, False)
    of_database = int(one(connection, _DATABASE))
    if not superuser:
        found += [limit - used for limit, used in ((of_role, mine), (of_database, here)) if limit >= 0]
    return found
