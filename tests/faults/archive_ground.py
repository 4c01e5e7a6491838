"""A table that is archived while others write to it, whatever dies; and what must be so afterwards.

Whoever writes keeps a journal of what each row may be now. In the end every row is in exactly one place, the table or
a file, in a version that the journal knows; and the files hold what the ledger says, byte by byte.
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
name = "ground"
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


class Ground:
    """A database of its own on a server, sereno's configuration for it, and somebody who writes."""

    def __init__(self, folder, cluster, database, *, rows, batch_rows=50, archive=None, seed=7):
        self.folder, self.cluster, self.database = folder, cluster, database
        self.archive_folder = archive or folder / "archive"
        self.allowed = {}
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._turn = threading.Lock()
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        with self.connect() as connection:
            for statement in self.PREPARE:
                connection.execute(statement)
        self.direct = f"host={cluster.socket} port={cluster.port} dbname={database}"
        self.configure(self.direct, batch_rows)
        self.sereno("install", "main", "--admin", cluster.dsn(database)).check_returncode()
        self.fill(rows)

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

    def fill(self, rows):
        with self._turn, self.connect() as connection:
            first = len(self.allowed) + 1
            connection.execute(f"INSERT INTO public.event SELECT n, {OLD}, 'v0' FROM generate_series({first}, {first + rows - 1}) n")  # fmt: skip
            self.allowed |= {number: {"v0"} for number in range(first, first + rows)}

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
        """Archive, and be killed after so many seconds; return whether there was anybody to kill."""
        process = subprocess.Popen(self.command("now", "archive", "--json"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(after)
        alive = process.poll() is None
        process.kill()
        process.wait()
        return alive

    @contextlib.contextmanager
    def archiving(self):
        """Archive for the body, which may crash the server; it ends by itself."""
        process = subprocess.Popen(self.command("now", "archive"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        yield
        process.wait(60)

    def write(self):
        """Update, delete and insert old rows until told to stop."""
        connection, number = self.connect(), 0
        while not self._stop.is_set():
            number += 1
            try:
                with self._turn:
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
        act = (
            self._random.choice(("update", "update", "delete", "insert"))
            if self.allowed
            else "insert"
        )
        if act == "insert":
            key = len(self.allowed) + 1
            self.allowed[key] = {None, "v0"}
            connection.execute(f"INSERT INTO public.event VALUES ({key}, {OLD}, 'v0')")
            self.allowed[key] = {"v0"}
            return
        key = self._random.randrange(1, len(self.allowed) + 1)
        before, after = self.allowed[key], f"v{number}" if act == "update" else None
        self.allowed[key] = before | {after}
        change = (
            "UPDATE public.event SET note = %(note)s"
            if act == "update"
            else "DELETE FROM public.event"
        )
        touched = connection.execute(
            f"{change} WHERE id = %(key)s", {"note": after, "key": key}
        ).rowcount
        self.allowed[key] = {after} if touched else before

    def __enter__(self):
        self._writer = threading.Thread(target=self.write)
        self._writer.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._writer.join()

    def finish(self):
        """Archive until nothing is left to be archived."""
        for _ in range(20):
            done = self.sereno("now", "archive", "--json")
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError(done.stdout + done.stderr)

    def verdict(self):
        """Say how many rows are lost, doubled, or not as they should be, and how many are where."""
        with self.connect() as connection:
            table = {
                row["id"]: row["note"]
                for row in connection.execute("SELECT id, note FROM public.event")
            }
            ledger = connection.execute("""SELECT * FROM sereno.archive_batch WHERE "table" = 'event' ORDER BY file, "position\"""").fetchall()  # fmt: skip
        archived, doubled, ends = {}, 0, {}
        for row in ledger:
            assert row["position"] == ends.get(row["file"], 0), "batches lie without gaps"
            ends[row["file"]] = row["position"] + row["length"]
            for line in self._lines(row):
                key, _, note = line.decode().split("\t")
                doubled += int(key) in archived
                archived[int(key)] = note
        sizes = {
            path: path.stat().st_size for path in self.archive_folder.glob("*/public/event/*.zst")
        }
        doubled += len(archived.keys() & table.keys())
        lost = strange = 0
        for key, allowed in self.allowed.items():
            found = table.get(key, archived.get(key))
            lost += found is None and None not in allowed
            strange += found is not None and found not in allowed
        return {
            "rows": len(self.allowed), "archived": len(archived), "in the table": len(table), "batches": len(ledger),
            "lost": lost, "doubled": doubled, "strange": strange + len((archived.keys() | table.keys()) - self.allowed.keys()),
            "unledgered bytes": sum(sizes.values()) - sum(ends.values()),
        }  # fmt: skip

    def _lines(self, row):
        """What a batch of the ledger holds."""
        descriptor = os.open(self.archive_folder / row["file"], os.O_RDONLY)
        frame = Frame(row["position"], row["length"], row["sha256"], row["rows"])
        text = b"".join(read_lines(descriptor, frame))
        os.close(descriptor)
        return text.splitlines()

    def whole(self):
        """Archive the rest, and return the verdict; nothing may be wrong with it."""
        self.finish()
        said = self.verdict()
        wrong = {
            name: said[name]
            for name in ("lost", "doubled", "strange", "unledgered bytes")
            if said[name]
        }
        assert not wrong, said
        return said


class Family(Ground):
    """Each event has three lines, that leave with it: where an event is, there are its lines, and nowhere else."""

    PREPARE = (
        *Ground.PREPARE,
        "CREATE TABLE public.line (id bigint PRIMARY KEY, event bigint NOT NULL REFERENCES public.event, note text)",
        "CREATE INDEX ON public.line (event)",
        "CREATE FUNCTION public.lines() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.line SELECT new.id * 10 + n, new.id, new.note FROM generate_series(0, 2) n; RETURN NULL; END'",
        "CREATE TRIGGER lines AFTER INSERT ON public.event FOR EACH ROW EXECUTE FUNCTION public.lines()",
    )
    MORE = "children = ['public.line']\n"

    def configure(self, dsn, batch_rows=50):
        super().configure(dsn, batch_rows)
        path = self.folder / "config.toml"
        path.write_text(path.read_text() + self.MORE)

    def _write(self, connection, number):
        """Events with lines are not deleted by others: a key forbids it."""
        self._act = self._random.choice(("update", "insert")) if self.allowed else "insert"
        key = (
            len(self.allowed) + 1
            if self._act == "insert"
            else self._random.randrange(1, len(self.allowed) + 1)
        )
        before = self.allowed.get(key, {None})
        note = f"v{number}"
        self.allowed[key] = before | {note}
        if self._act == "insert":
            connection.execute(f"INSERT INTO public.event VALUES ({key}, {OLD}, '{note}')")
            self.allowed[key] = {note}
        else:
            changed = connection.execute(
                "UPDATE public.event SET note = %s WHERE id = %s", (note, key)
            ).rowcount
            self.allowed[key] = {note} if changed else before

    def verdict(self):
        """The same for the lines: those of archived events are archived, once; those of the others are there."""
        with self.connect() as connection:
            there = {row["id"] for row in connection.execute("SELECT id FROM public.line")}
            events = {row["id"] for row in connection.execute("SELECT id FROM public.event")}
            ledger = connection.execute(
                """SELECT * FROM sereno.archive_batch WHERE "table" = 'line'"""
            ).fetchall()
        archived = [int(line.split(b"\t")[0]) for row in ledger for line in self._lines(row)]
        said = super().verdict()
        wanted = {key * 10 + number for key in self.allowed for number in range(3)}
        gone = {key for key in wanted if key // 10 not in events}
        said["lost"] += len(wanted - there - set(archived)) + len(gone - set(archived))
        said["doubled"] += len(archived) - len(set(archived)) + len(there & set(archived))
        return {**said, "lines archived": len(archived)}


class ToTable(Ground):
    """Events that move to another table of the same database."""

    PREPARE = (
        *Ground.PREPARE,
        "CREATE SCHEMA history",
        "CREATE TABLE history.event (id bigint, at timestamptz, note text)",
    )

    def configure(self, dsn, batch_rows=50):
        super().configure(dsn, batch_rows)
        path = self.folder / "config.toml"
        path.write_text(
            path.read_text().replace(f"file://{self.archive_folder}", "table:history.event")
        )

    def verdict(self):
        with self.connect() as connection:
            table = {
                row["id"]: row["note"]
                for row in connection.execute("SELECT id, note FROM public.event")
            }
            moved = connection.execute("SELECT id, note FROM history.event").fetchall()
            ledgered = connection.execute("SELECT coalesce(sum(rows), 0)::bigint AS n FROM sereno.archive_batch").fetchone()["n"]  # fmt: skip
        archived = {row["id"]: row["note"] for row in moved}
        found = archived | table
        lost = sum(
            key not in found and None not in allowed for key, allowed in self.allowed.items()
        )
        strange = sum(found[key] not in self.allowed.get(key, ()) for key in found)
        return {
            "rows": len(self.allowed), "archived": len(archived), "in the table": len(table), "lost": lost,
            "doubled": len(moved) - len(archived) + len(archived.keys() & table.keys()), "strange": strange,
            "unledgered bytes": abs(len(moved) - ledgered),
        }  # fmt: skip


class Proxy:
    """Between a client and the server: at a COMMIT it cuts the client off, before it has passed it on or after."""

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
            back = threading.Thread(target=self._down, args=(upstream, client))
            back.start()
            with contextlib.suppress(OSError):
                self._up(client, upstream)
            for end in (client, upstream):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _up(self, client, upstream):
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

    def _down(self, upstream, client):
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                client.sendall(data)
