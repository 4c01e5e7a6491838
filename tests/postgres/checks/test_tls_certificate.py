"""The check `tls_certificate`: by a TLS handshake alone, and on a server with TLS."""

import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from checks.tls_certificate import days_left
from daemon.demo.cluster import Cluster, free_port
from tests.fixtures.certificates import create_certificate
from tests.fixtures.servers import Database

WITH_TLS = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def serve():
    """Return a function that starts a listener which answers SSLRequest as a server does."""
    listeners = []

    def start(context, answer=b"S"):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept():
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                with plain:
                    assert plain.recv(8) == bytes.fromhex("0000000804d2162f")
                    plain.sendall(answer)
                    try:
                        with context.wrap_socket(plain, server_side=True) as connection:
                            connection.recv(1)
                    except OSError:
                        continue

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("authority", [True, False])
@pytest.mark.parametrize(("days", "left"), [(40, 40), (3, 3), (-1, 0)])
def test_days_until_a_certificate_ends(serve, tmp_path, days, left, authority):
    _, context = create_certificate(tmp_path, days, authority=authority)
    assert days_left("127.0.0.1", serve(context), time.time()) == pytest.approx(left, abs=0.01)


def test_server_that_refuses_tls_or_does_not_answer_is_an_error(serve, tmp_path):
    _, context = create_certificate(tmp_path)
    with pytest.raises(OSError, match="the server refuses TLS"):
        days_left("127.0.0.1", serve(context, b"N"), time.time())
    with pytest.raises(OSError, match="refused"):
        days_left("127.0.0.1", free_port(), time.time())


@pytest.fixture
def tls_server(scratch, tmp_path):
    """Return a function that starts a server with a certificate that ends in some days."""
    if not WITH_TLS.is_dir():
        pytest.skip("the embedded server has no TLS, and postgresql-15 is not installed")
    clusters = []

    def start(days):
        folder = scratch / f"tls-{tmp_path.name}"
        folder.mkdir(mode=0o755)
        cluster = Cluster(folder, WITH_TLS, {"listen_addresses": "127.0.0.1"}).create()
        path, _ = create_certificate(tmp_path, days)
        for name in ("server.crt", "server.key"):
            copied = shutil.copy(path, cluster.data / name)
            shutil.chown(copied, cluster.run_as())
            copied.chmod(0o600)
        with (cluster.data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        clusters.append(cluster.start())
        return Database(cluster, "postgres")

    yield start
    for cluster in clusters:
        cluster.stop("immediate")


@pytest.mark.parametrize(
    ("days", "severity"), [(60, None), (20, "warning"), (5, "high"), (-1, "critical")]
)
def test_certificate_of_a_server(tls_server, make_house, tmp_path, days, severity):
    database = tls_server(days)
    house = make_house(tmp_path, database)
    house.with_logins = False
    found = [
        one for one in house.run("integrity_check")["findings"] if one["kind"] == "tls_certificate"
    ]
    assert [one["severity"] for one in found] == ([severity] if severity else [])
    database.admin.close()
