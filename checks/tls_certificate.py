"""The check `tls_certificate`: the end of the certificate that a server shows, by a TLS handshake.

The server is asked as a client asks it: SSLRequest, then the handshake (manual, 55.2.10). The
certificate is trusted for this look only, so that one of an own authority is read too.
"""

import socket
import ssl
import struct
import time
from collections.abc import Sequence

from psycopg import sql

from checks.check import Header, NotSeen, Option, OptionValues, Row
from checks.module_check import ModuleCheck
from postgres.session import Session

SECONDS = 5.0
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_ADDRESS = sql.SQL(
    """
    SELECT current_setting('ssl') = 'on' AS tls,
           coalesce(host(inet_server_addr()), 'localhost') AS host,
           current_setting('port')::int AS port,
           inet_server_addr() IS NULL AND current_setting('listen_addresses') = '' AS is_local
    """
)
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def days_left(host: str, port: int, now: float) -> float:
    """Return the days until the server's certificate ends; 0 if it has ended. Raises OSError."""
    shown = ssl.create_default_context()
    shown.check_hostname = False
    shown.verify_mode = ssl.CERT_NONE
    with _handshake(host, port, shown) as connection:
        certificate = connection.getpeercert(binary_form=True)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cadata=certificate or b"")
    try:
        with _handshake(host, port, trusting) as connection:
            ends = (connection.getpeercert() or {})["notAfter"]
    except ssl.SSLCertVerificationError as error:
        if error.verify_code != _EXPIRED:
            raise
        return 0.0
    return max(0.0, (ssl.cert_time_to_seconds(str(ends)) - now) / 86400)


def _handshake(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection after the handshake; the caller closes it."""
    plain = socket.create_connection((host, port), timeout=SECONDS)
    try:
        plain.sendall(_SSL_REQUEST)
        accepts = plain.recv(1) == b"S"
        if accepts:
            return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
    plain.close()
    raise ConnectionError("the server refuses TLS")


def _ask(session: Session | None, options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a cluster check has one
    server = session.rows(_ADDRESS)[0]
    if not server["tls"] or server["is_local"]:
        return ()
    host, port = server["host"], server["port"]
    try:
        days = days_left(host, port, time.time())
    except OSError as error:
        raise NotSeen(f"no certificate from {host}:{port}: {error}") from None
    limits = {name: float(str(options[name])) for name in ("warning", "high", "critical")}
    if days > limits["warning"]:
        return ()
    return [{"object": f"{host}:{port}", "value": days, "days": f"{days:.0f}"}]


CHECK = ModuleCheck(
    Header(
        name="tls_certificate",
        title="The server's certificate ends soon",
        scope="cluster",
        order="falling",
        options={
            "warning": Option(30, "days until the certificate ends"),
            "high": Option(7, "days until the certificate ends"),
            "critical": Option(0, "days until the certificate ends"),
        },
        summary="it ends in {days} days; clients that verify it are refused then",
        remedy="renew ssl_cert_file and ssl_key_file, then SELECT pg_reload_conf();",
        es={
            "title": "El certificado del servidor vence pronto",
            "summary": "vence en {days} días; los clientes que lo verifican quedarán fuera",
            "remedy": "renovar ssl_cert_file y ssl_key_file, después SELECT pg_reload_conf();",
        },
        source="PostgreSQL manual, 18.9 and 55.2.10",
        cost="scan",
    ),
    _ask,
    lambda _options: "the certificate that the server shows in a TLS handshake",
)
