"""The cure of each class of a refused connection."""

import pytest

from domain.redaction import redact
from postgres.connect_errors import Attempt, connect_cure

ATTEMPT = Attempt("main", "data", "sereno_data", "Coop")
SOCKET = 'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: '
HOST = 'connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        (SOCKET + 'FATAL:  Peer authentication failed for user "sereno_data"', 'local "Coop" sereno_data scram-sha-256'),
        (HOST + 'FATAL:  no pg_hba.conf entry for host "10.1.2.3", user "x", database "y"', 'host "Coop" sereno_data 10.1.2.3/32 scram-sha-256'),
        (HOST + 'FATAL:  no pg_hba.conf entry for host "fe80::1", user "x"', "fe80::1/128"),
        (HOST + 'FATAL:  password authentication failed for user "sereno_data"', "is it that of databases.main.data?"),
        (HOST + "fe_sendauth: no password supplied", 'its password, like { file = "…" }'),
        (SOCKET + 'FATAL:  role "sereno_data" does not exist', "sereno install main"),
        (SOCKET + 'FATAL:  database "x" does not exist', "correct dbname"),
        (HOST + "Connection refused", "is the server running"),
        (SOCKET + "No such file or directory", "is the server running"),
        ('could not translate host name "nowhere" to address', "correct host"),
        ("connection timeout expired", "firewall"),
        (HOST + "server does not support SSL, but SSL was required", "sslmode"),
        (HOST + "FATAL:  sorry, too many clients already", "max_connections"),
        ("FATAL:  Passwort-Authentifizierung", ""),
    ],
)  # fmt: skip
def test_cure_follows_the_class(reason, cure):
    found = connect_cure(reason, ATTEMPT)
    assert redact(f"{reason}; {found}") == f"{reason}; {found}"
    assert cure in found
    assert bool(found) == bool(cure)
