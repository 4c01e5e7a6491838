"""A table archived under concurrent writes and crashes, and the check of its rows.

The writer records the versions that each row may have. In the end every row is in exactly one
place, the table or a file, in a recorded version, and the files hold exactly the bytes of the
ledger.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from retention.archive.frame import Frame, read_lines

ROOT = Path(__file__).parents[2]
CONFIG = """
[daemon]
name = "test"
state = "{folder}/state.db"
checks = "{folder}/checks.d"
listen = ""
[databases.main]
dsn = "{dsn}"
maintain = {{ user = "maintain_{database}" }}
data = {{ user = "data_{database}" }}
[governor]
batch_rows = {batch_rows}
[jobs]
[[jobs.archive.tables]]
table = 'public.event'
column = "at"
older_than = "30 days"
to = "file://{archive}"
"""
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
OLD = "now() - interval '40 days' + random() * interval '5 days'"


class ArchiveFixture:
    """A database with a table to archive, its configuration, and a concurrent writer."""

    def __init__(self, folder, cluster, database, *, rows, batch_rows=50, archive=None, seed=7):
        self.folder, self.cluster, self.database = folder, cluster, database
        self.archive_folder = archive or folder / "archive"
        self.versions = {}
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        with self.connect() as connection:
            for statement in self.PREPARE:
                connection.execute(statement)
        self.direct = f"host={cluster.socket} port={cluster.port} dbname={database}"
        self.configure(self.direct, batch_rows)
        self.sereno("install", "main", "--admin", cluster.dsn(database)).check_returncode()
        self.insert(rows)

    PREPARE = (
        "CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz, note text)",
        "CREATE INDEX ON public.event (at)",
    )

    def connect(self):
        return psycopg.connect(
            self.cluster.dsn(self.database), autocommit=True, row_factory=dict_row
        )

    def configure(self, dsn, batch_rows=50):
        text = CONFIG.format(
            folder=self.folder,
            dsn=dsn,
            database=self.database,
            batch_rows=batch_rows,
            archive=self.archive_folder,
        )
        (self.folder / "config.toml").write_text(text)

    def insert(self, rows):
        with self._lock, self.connect() as connection:
            first = len(self.versions) + 1
            connection.execute(f"INSERT INTO public.event SELECT n, {OLD}, 'v0' FROM generate_series({first}, {first + rows - 1}) n")  # fmt: skip
            self.versions |= {number: {"v0"} for number in range(first, first + rows)}

    def command(self, *arguments):
        return [
            sys.executable,
            "-m",
            "daemon",
            *arguments,
            "--config",
            str(self.folder / "config.toml"),
        ]

    def sereno(self, *arguments, prefix=()):
        return subprocess.run(
            [*prefix, *self.command(*arguments)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )

    def kill(self, after):
        """Archive, and kill the process after some seconds; return whether it was still running."""
        process = subprocess.Popen(self.command("now", "archive", "--json"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(after)
        alive = process.poll() is None
        process.kill()
        process.wait()
        return alive

    @contextlib.contextmanager
    def archiving(self):
        """Archive during the body, which may crash the server."""
        process = subprocess.Popen(self.command("now", "archive"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        yield
        process.wait(60)

    def write_rows(self):
        """Update, delete and insert old rows until stopped."""
        connection, number = self.connect(), 0
        while not self._stop.is_set():
            number += 1
            try:
                with self._lock:
                    self._write(connection, number)
            except psycopg.OperationalError:
                time.sleep(0.2)
                try:
                    connection = self.connect()
                except psycopg.OperationalError:
                    continue
            time.sleep(0.001)
        connection.close()

    def _write(self, connection, number):
        action = (
            self._random.choice(("update", "update", "delete", "insert"))
            if self.versions
            else "insert"
        )
        if action == "insert":
            key = len(self.versions) + 1
            self.versions[key] = {None, "v0"}
            connection.execute(f"INSERT INTO public.event VALUES ({key}, {OLD}, 'v0')")
            self.versions[key] = {"v0"}
            return
        key = self._random.randrange(1, len(self.versions) + 1)
        before, after = self.versions[key], f"v{number}" if action == "update" else None
        self.versions[key] = before | {after}
        change = (
            "UPDATE public.event SET note = %(note)s"
            if action == "update"
            else "DELETE FROM public.event"
        )
        touched = connection.execute(
            f"{change} WHERE id = %(key)s", {"note": after, "key": key}
        ).rowcount
        self.versions[key] = {after} if touched else before

    def __enter__(self):
        self._writer = threading.Thread(target=self.write_rows)
        self._writer.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._writer.join()

    def finish(self):
        """Archive until a run succeeds."""
        for _ in range(20):
            done = self.sereno("now", "archive", "--json")
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError(done.stdout + done.stderr)

    def count_rows(self):
        """Count lost, duplicated and unexpected rows, and the rows in each place."""
        with self.connect() as connection:
            table = {
                row["id"]: row["note"]
                for row in connection.execute("SELECT id, note FROM public.event")
            }
            ledger = connection.execute("""SELECT * FROM sereno.archive_batch WHERE "table" = 'event' ORDER BY file, "position\"""").fetchall()  # fmt: skip
        archived, duplicated, ends = {}, 0, {}
        for row in ledger:
            assert row["position"] == ends.get(row["file"], 0), "batches are contiguous"
            ends[row["file"]] = row["position"] + row["length"]
            for line in self._lines(row):
                key, _, note = line.decode().split("\t")
                duplicated += int(key) in archived
                archived[int(key)] = note
        sizes = {
            path: path.stat().st_size for path in self.archive_folder.glob("*/public/event/*.zst")
        }
        duplicated += len(archived.keys() & table.keys())
        lost = unexpected = 0
        for key, versions in self.versions.items():
            note = table.get(key, archived.get(key))
            lost += note is None and None not in versions
            unexpected += note is not None and note not in versions
        return {
            "rows": len(self.versions), "archived": len(archived), "in table": len(table), "batches": len(ledger),
            "lost": lost, "duplicated": duplicated, "unexpected": unexpected + len((archived.keys() | table.keys()) - self.versions.keys()),
            "bytes not in ledger": sum(sizes.values()) - sum(ends.values()),
        }  # fmt: skip

    def _lines(self, row):
        """Return the lines of a batch of the ledger."""
        descriptor = os.open(self.archive_folder / row["file"], os.O_RDONLY)
        frame = Frame(row["position"], row["length"], row["sha256"], row["rows"])
        text = b"".join(read_lines(descriptor, frame))
        os.close(descriptor)
        return text.splitlines()

    def finish_and_check(self):
        """Archive the rest; return the counts, and fail on lost, duplicated or unexpected rows."""
        self.finish()
        counts = self.count_rows()
        errors = {
            name: counts[name]
            for name in ("lost", "duplicated", "unexpected", "bytes not in ledger")
            if counts[name]
        }
        assert not errors, counts
        return counts


class ChildTableFixture(ArchiveFixture):
    """Each event has three rows in a child table, which are archived with it."""

    PREPARE = (
        *ArchiveFixture.PREPARE,
        "CREATE TABLE public.line (id bigint PRIMARY KEY, event bigint NOT NULL REFERENCES public.event, note text)",
        "CREATE INDEX ON public.line (event)",
        "CREATE FUNCTION public.lines() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.line SELECT new.id * 10 + n, new.id, new.note FROM generate_series(0, 2) n; RETURN NULL; END'",
        "CREATE TRIGGER lines AFTER INSERT ON public.event FOR EACH ROW EXECUTE FUNCTION public.lines()",
    )
    EXTRA_OPTIONS = "children = ['public.line']\n"

    def configure(self, dsn, batch_rows=50):
        super().configure(dsn, batch_rows)
        path = self.folder / "config.toml"
        path.write_text(path.read_text() + self.EXTRA_OPTIONS)

    def _write(self, connection, number):
        """Update or insert only: the foreign key forbids deleting events with lines."""
        self._action = self._random.choice(("update", "insert")) if self.versions else "insert"
        key = (
            len(self.versions) + 1
            if self._action == "insert"
            else self._random.randrange(1, len(self.versions) + 1)
        )
        before = self.versions.get(key, {None})
        note = f"v{number}"
        self.versions[key] = before | {note}
        if self._action == "insert":
            connection.execute(f"INSERT INTO public.event VALUES ({key}, {OLD}, '{note}')")
            self.versions[key] = {note}
        else:
            changed = connection.execute(
                "UPDATE public.event SET note = %s WHERE id = %s", (note, key)
            ).rowcount
            self.versions[key] = {note} if changed else before

    def count_rows(self):
        """Count the child rows too, which are in the same place as their event."""
        with self.connect() as connection:
            present = {row["id"] for row in connection.execute("SELECT id FROM public.line")}
            events = {row["id"] for row in connection.execute("SELECT id FROM public.event")}
            ledger = connection.execute(
                """SELECT * FROM sereno.archive_batch WHERE "table" = 'line'"""
            ).fetchall()
        archived = [int(line.split(b"\t")[0]) for row in ledger for line in self._lines(row)]
        counts = super().count_rows()
        wanted = {key * 10 + number for key in self.versions for number in range(3)}
        gone = {key for key in wanted if key // 10 not in events}
        counts["lost"] += len(wanted - present - set(archived)) + len(gone - set(archived))
        counts["duplicated"] += len(archived) - len(set(archived)) + len(present & set(archived))
        return {**counts, "child rows archived": len(archived)}


class TableTargetFixture(ArchiveFixture):
    """Archive to another table of the same database."""

    PREPARE = (
        *ArchiveFixture.PREPARE,
        "CREATE SCHEMA history",
        "CREATE TABLE history.event (id bigint, at timestamptz, note text)",
    )

    def configure(self, dsn, batch_rows=50):
        super().configure(dsn, batch_rows)
        path = self.folder / "config.toml"
        path.write_text(
            path.read_text().replace(f"file://{self.archive_folder}", "table:history.event")
        )

    def count_rows(self):
        with self.connect() as connection:
            table = {
                row["id"]: row["note"]
                for row in connection.execute("SELECT id, note FROM public.event")
            }
            moved = connection.execute("SELECT id, note FROM history.event").fetchall()
            ledgered = connection.execute("SELECT coalesce(sum(rows), 0)::bigint AS n FROM sereno.archive_batch").fetchone()["n"]  # fmt: skip
        archived = {row["id"]: row["note"] for row in moved}
        notes = archived | table
        lost = sum(
            key not in notes and None not in versions for key, versions in self.versions.items()
        )
        unexpected = sum(notes[key] not in self.versions.get(key, ()) for key in notes)
        return {
            "rows": len(self.versions), "archived": len(archived), "in table": len(table), "lost": lost,
            "duplicated": len(moved) - len(archived) + len(archived.keys() & table.keys()), "unexpected": unexpected,
            "bytes not in ledger": abs(len(moved) - ledgered),
        }  # fmt: skip


class Proxy:
    """A proxy that drops the connection at a COMMIT, before or after forwarding it."""

    def __init__(self, port):
        self._port = port
        self.cut, self.cuts = "", 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self._port)) as upstream:
            responses = threading.Thread(target=self._forward_responses, args=(upstream, client))
            responses.start()
            with contextlib.suppress(OSError):
                self._forward_requests(client, upstream)
            for end in (client, upstream):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            responses.join()

    def _forward_requests(self, client, upstream):
        ledgered = False
        while data := client.recv(65536):
            ledgered = ledgered or b"INSERT INTO sereno.archive_batch" in data
            if self.cut and COMMIT in data and ledgered:
                self.cuts += 1
                how, self.cut = self.cut, ""
                if how == "after":
                    upstream.sendall(data)
                    time.sleep(0.05)
                return
            upstream.sendall(data)

    def _forward_responses(self, upstream, client):
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                client.sendall(data)
