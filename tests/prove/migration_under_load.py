"""Proof that an application hardly feels the reference migration, beside the plain statements.

`python -m tests.prove.migration_under_load [USERS] [BINARIES]`: USERS users (100,000) and three times
as many roles; six threads write and read as the application does, first the old one, then half of
each, then the new one. The plain statements of the three phases, one after the other, run on the
same data. Told are errors and the longest write and read; every revoked role has to stay revoked.
"""

import itertools
import random
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg

from daemon.demo.cluster import Cluster, embedded_binaries
from tests.fixtures.house import ROOT, House
from tests.fixtures.servers import _database

USERS, THREADS, REST = 100_000, 6, 0.02
ID = "0001_multi_tenancy"
SCHEMA = (ROOT / "daemon/demo/cooperative.sql").read_text().partition("\nDO $partitions$")[0]
FILL = """
INSERT INTO "Cooperativa" (id, nombre) SELECT 'c' || n, 'C' || n FROM generate_series(1, 50) n;
INSERT INTO "Rol" (id, nombre) SELECT 'r' || n, 'rol ' || n FROM generate_series(1, 9) n;
INSERT INTO "Usuario" (id, cooperativa_id, email, activo)
SELECT 'u' || n, CASE WHEN n % 100 <> 0 THEN 'c' || 1 + n % 50 END, 'u' || n || '@example.org', n % 9 <> 0
FROM generate_series(1, {users}) n;
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id, cooperativa_id)
SELECT 'ur' || u || '-' || r, 'u' || u, 'r' || r, CASE WHEN r < 3 OR u % 50 <> 0 THEN 'c' || 1 + u % 50 END
FROM generate_series(1, {users}) u, generate_series(1, 3) r;
CREATE INDEX ON "UsuarioRol" (usuario_id);
ANALYZE;
"""
PLAIN = (
    (
        """CREATE TABLE "UsuarioCooperativa" (id varchar(36) PRIMARY KEY DEFAULT gen_random_uuid(), usuario_id varchar(36) NOT NULL,
        cooperativa_id varchar(36) NOT NULL, fecha_ingreso timestamp DEFAULT current_timestamp, activo boolean DEFAULT true,
        UNIQUE (usuario_id, cooperativa_id))""",
        'CREATE INDEX ON "UsuarioCooperativa" (usuario_id)',
        'CREATE INDEX ON "UsuarioCooperativa" (cooperativa_id)',
    ),
    (
        """INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id, fecha_ingreso, activo)
        SELECT id, cooperativa_id, fecha_creacion, activo FROM "Usuario" WHERE cooperativa_id IS NOT NULL""",
        'ALTER TABLE "UsuarioRol" ADD COLUMN usuario_cooperativa_id varchar(36)',
        """UPDATE "UsuarioRol" ur SET usuario_cooperativa_id = uc.id FROM "UsuarioCooperativa" uc
        JOIN "Usuario" u ON uc.usuario_id = u.id WHERE ur.usuario_id = u.id AND ur.cooperativa_id = uc.cooperativa_id""",
    ),
    (
        """ALTER TABLE "UsuarioRol" ADD CONSTRAINT fk_membresia FOREIGN KEY (usuario_cooperativa_id)
        REFERENCES "UsuarioCooperativa" (id)""",
        'CREATE INDEX ON "UsuarioRol" (usuario_cooperativa_id)',
    ),
)  # fmt: skip
OLD = (
    ("read", """SELECT u.id, u.cooperativa_id, u.activo FROM "Usuario" u WHERE u.id = %(u)s"""),
    ("read", """SELECT r.nombre FROM "UsuarioRol" ur JOIN "Rol" r ON r.id = ur.rol_id WHERE ur.usuario_id = %(u)s"""),
    ("write", """UPDATE "Usuario" SET cooperativa_id = %(c)s WHERE id = %(u)s"""),
    ("write", """UPDATE "Usuario" SET activo = NOT activo WHERE id = %(u)s"""),
    ("write", """INSERT INTO "UsuarioRol" (id, usuario_id, rol_id, cooperativa_id) SELECT %(n)s, %(u)s, 'r8', %(c)s
     WHERE NOT EXISTS (SELECT FROM "UsuarioRol" WHERE usuario_id = %(u)s AND rol_id = 'r8')"""),
    ("write", """INSERT INTO "Usuario" (id, cooperativa_id, email) VALUES (%(n)s, %(c)s, %(n)s)"""),
    ("write", """UPDATE "UsuarioRol" SET rol_id = CASE rol_id WHEN 'r1' THEN 'r7' WHEN 'r7' THEN 'r1' ELSE rol_id END
     WHERE usuario_id = %(u)s"""),
    ("revoke", """DELETE FROM "UsuarioRol" WHERE usuario_id = %(s)s AND rol_id = 'r3' AND cooperativa_id IS NULL"""),
)  # fmt: skip
NEW = (
    ("read", """SELECT uc.cooperativa_id, uc.activo FROM "UsuarioCooperativa" uc WHERE uc.usuario_id = %(u)s"""),
    ("read", """SELECT r.nombre FROM "UsuarioCooperativa" uc JOIN "UsuarioRol" ur ON ur.usuario_cooperativa_id = uc.id
     JOIN "Rol" r ON r.id = ur.rol_id WHERE uc.usuario_id = %(u)s"""),
    ("write", """UPDATE "UsuarioCooperativa" SET activo = NOT activo WHERE usuario_id = %(u)s AND es_principal"""),
    ("write", """INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id) VALUES (%(u)s, %(c)s)
     ON CONFLICT (usuario_id, cooperativa_id) DO NOTHING"""),
    ("write", """INSERT INTO "UsuarioRol" (id, usuario_cooperativa_id, rol_id) SELECT %(n)s, uc.id, 'r9' FROM "UsuarioCooperativa" uc
     WHERE uc.usuario_id = %(u)s AND uc.es_principal ON CONFLICT DO NOTHING"""),
    ("write", """INSERT INTO "Usuario" (id, email) VALUES (%(n)s, %(n)s)"""),
    ("revoke", """DELETE FROM "UsuarioRolGlobal" WHERE usuario_id = %(s)s AND rol_id = 'r3'"""),
)  # fmt: skip


class Application:
    """Six threads of an application; each statement is timed, under the phase in progress."""

    def __init__(self, dsn, users):
        self.dsn, self.users = dsn, users
        self.stop, self.guard = threading.Event(), threading.Lock()
        self.new_threads, self.phase = 0, "quiet"
        self.longest, self.errors, self.operations = {}, [], 0
        self.revoked = set()
        self.supers = iter(f"u{n}" for n in range(50, users + 1, 50))
        self.numbers = itertools.count()
        self.threads = [threading.Thread(target=self._work, args=(n,)) for n in range(THREADS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _work(self, number):
        chance = random.Random(number)
        with psycopg.connect(
            self.dsn, autocommit=True, cursor_factory=psycopg.ClientCursor
        ) as connection:
            while not self.stop.wait(REST * chance.uniform(0.5, 1.5)):
                self._operate(connection, chance, NEW if number < self.new_threads else OLD)

    def _operate(self, connection, chance, operations):
        kind, statement = chance.choice(operations)
        with self.guard:
            values = {
                "u": f"u{chance.randint(1, self.users)}",
                "c": f"c{chance.randint(1, 50)}",
                "n": f"n{next(self.numbers)}",
                "s": next(self.supers, "nobody")
                if kind == "revoke" and chance.random() < 0.1
                else "nobody",
            }
        phase, began = self.phase, time.monotonic()
        try:
            connection.execute(statement, values)
        except psycopg.Error as error:
            with self.guard:
                self.errors.append((phase, statement[:60], str(error).splitlines()[0]))
        seconds = time.monotonic() - began
        name = (phase, "read" if kind == "read" else "write")
        with self.guard:
            self.operations += 1
            self.longest[name] = max(self.longest.get(name, 0.0), seconds)
            if values["s"] != "nobody":
                self.revoked.add(values["s"])

    def longest_of(self, kind, *, without=("quiet",)):
        return max(
            (s for (phase, k), s in self.longest.items() if k == kind and phase not in without),
            default=0.0,
        )


@contextmanager
def filled(cluster, users, owner):
    with _database(cluster) as database:
        database.run(f"GRANT ALL ON SCHEMA public TO {owner}; SET ROLE {owner}")
        database.run(SCHEMA)
        database.run(FILL.format(users=users))
        database.run("RESET ROLE; RESET search_path; CHECKPOINT")
        yield database


def plain(cluster, users, owner):
    """Run the plain statements beside the old application; return it."""
    with filled(cluster, users, owner) as database, Application(database.dsn, users) as application:
        time.sleep(2)
        for number, statements in enumerate(PLAIN, 1):
            application.phase = f"plain {number}"
            for statement in statements:
                database.run(statement)
        application.phase = "quiet"
    return application


def guarded(cluster, users, owner, place):
    """Apply the reference migration beside the applications; return them and what is wrong."""
    with filled(cluster, users, owner) as database:
        house = House(place, database)
        house.database_lines = f'migrate = {{ user = "load_migrate", role = "{owner}" }}\n'
        house.extra = f'\n[migrations]\nfolder = "{ROOT}/examples/cooperativa/migrations"\nenvironment = "development"\n'
        house.install()
        seconds = {}
        with Application(database.dsn, users) as application:
            time.sleep(3)
            for phase, new_threads in (
                ("prepare", 0),
                ("data", 0),
                ("tighten", 0),
                ("deploy", 3),
                ("deploy all", 6),
                ("cleanup", 6),
            ):
                application.phase, application.new_threads = (
                    phase,
                    max(new_threads, application.new_threads),
                )
                began = time.monotonic()
                if phase.startswith("deploy"):
                    time.sleep(3)
                    continue
                done = house.sereno(
                    "migrate", "apply", ID, "--yes", "--until", phase, check=False, timeout=7200
                )
                seconds[phase] = round(time.monotonic() - began, 1)
                if done.returncode != 0:
                    raise AssertionError(done.stdout + done.stderr)
            time.sleep(2)
            application.phase = "quiet"
        checked = house.sereno("migrate", "check", ID, check=False, timeout=600)
        back = database.value(
            """SELECT count(*) FROM "UsuarioRolGlobal" g WHERE rol_id = 'r3' AND usuario_id = ANY (%s)""",
            list(application.revoked),
        )
        wrong = [] if checked.returncode == 0 else [checked.stdout]
        wrong += [f"{back} revoked roles are back"] if back else []
    return application, seconds, wrong


def main():
    users = int(sys.argv[1]) if len(sys.argv) > 1 else USERS
    binaries = Path(sys.argv[2]) if len(sys.argv) > 2 else embedded_binaries()
    settings = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on", "max_wal_size": "4GB"}
    with tempfile.TemporaryDirectory(prefix="sereno-load-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        for name in ("server", "house"):
            (place / name).mkdir(mode=0o755)
        with Cluster(place / "server", binaries, settings) as cluster:
            with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
                connection.execute("CREATE ROLE load_owner")
                version = connection.info.server_version // 10000
            guarded_app, seconds, wrong = guarded(cluster, users, "load_owner", place / "house")
            plain_app = plain(cluster, users, "load_owner")
    worst, plainly = guarded_app.longest_of("write"), plain_app.longest_of("write")
    print(
        f"PostgreSQL {version}, {users:,} users, {users * 3:,} roles, {guarded_app.operations:,} operations"
    )
    for (phase, kind), longest in sorted(guarded_app.longest.items()):
        print(f"  {phase:12} longest {kind:5} {longest * 1000:7.0f} ms")
    print(f"  seconds by phase: {seconds}; revoked roles: {len(guarded_app.revoked)}")
    print(
        f"  errors: {len(guarded_app.errors)} {guarded_app.errors[:3]}; wrong afterwards: {wrong or 'nothing'}"
    )
    print(
        f"  longest write {worst * 1000:.0f} ms, of the plain statements {plainly * 1000:.0f} ms: 1/{plainly / worst:.0f}"
    )
    if guarded_app.errors or wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
