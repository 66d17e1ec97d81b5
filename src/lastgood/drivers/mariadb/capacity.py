"""How many more sessions a server takes for one user: the nearest of its limits."""

from __future__ import annotations

from lastgood.drivers.mariadb.connection import Server, one, rows


def free_connections(server: Server) -> int:
    """Never negative. Beside ``max_connections`` the server keeps one more for a superuser, not counted
    here.
    """
    with server.session() as connection:
        total, of_user = rows(connection, "SELECT @@GLOBAL.max_connections, @@SESSION.max_user_connections")[
            0
        ]
        everybody = int(rows(connection, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")[0][1])
        mine = int(
            one(
                connection,
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST "
                "WHERE USER = SUBSTRING_INDEX(USER(), '@', 1)",
            )
        )
    # Our own session is among both, and ends now.
    found = [int(total) - (everybody - 1)]
    if int(of_user):
        found.append(int(of_user) - (mine - 1))
    return max(0, min(found))
