"""A house with a login for migrations, and migrations written into its folder."""

import json
import threading

import pytest

PREPARE = {
    "migration.toml": 'title = "A second table"\narchive = ["public.new_table"]\n'
    '[steps."data.10_fill.batch.sql"]\ntable = "public.users"\nkey = "id"\n',
    "prepare.sql": "CREATE TABLE new_table (id bigint PRIMARY KEY REFERENCES users (id), note text);\n"
    "ALTER TABLE users ADD COLUMN migrated boolean;\n",
    "prepare.check.sql": "-- @check no_orphans\nSELECT n.id FROM new_table n LEFT JOIN users u USING (id) WHERE u.id IS NULL;\n",
    "prepare.rollback.sql": "ALTER TABLE users DROP COLUMN migrated;\nDROP TABLE new_table;\n",
    "data.10_fill.batch.sql": "INSERT INTO new_table (id, note) SELECT id, name FROM users WHERE id BETWEEN :lo AND :hi ON CONFLICT DO NOTHING;\n"
    "UPDATE users SET migrated = true WHERE id BETWEEN :lo AND :hi AND migrated IS NULL;\n",
    "data.check.sql": "-- @check all_filled\nSELECT u.id FROM users u LEFT JOIN new_table n USING (id) WHERE n.id IS NULL;\n"
    "-- @same users\nSELECT count(*) FROM users;\n",
    "data.rollback.sql": "-- the rows go with their table\n",
    "tighten.10.sql": "ALTER TABLE users ADD CONSTRAINT users_migrated CHECK (migrated) NOT VALID;\n",
    "tighten.20.notx.sql": "ALTER TABLE users VALIDATE CONSTRAINT users_migrated;\n"
    "CREATE INDEX CONCURRENTLY new_note ON new_table (note);\n",
    "tighten.check.sql": "-- @check all_filled\nSELECT u.id FROM users u LEFT JOIN new_table n USING (id) WHERE n.id IS NULL;\n",
    "tighten.rollback.notx.sql": "DROP INDEX CONCURRENTLY IF EXISTS new_note;\nALTER TABLE users DROP CONSTRAINT IF EXISTS users_migrated;\n",
    "cleanup.sql": "ALTER TABLE users RENAME COLUMN name TO zz_name;\n",
    "cleanup.check.sql": "-- @check renamed\nSELECT id FROM users WHERE zz_name IS NULL;\n",
    "cleanup.rollback.sql": "ALTER TABLE users RENAME COLUMN zz_name TO name;\n",
}


class Migrating:
    """A database with a table `users` of an owner, and a house that may migrate it."""

    ID = "0001_second_table"

    def __init__(self, house, rows=1000):
        self.house, self.database = house, house.database
        suffix = house.maintain.rpartition("_")[2]
        self.owner, self.login = f"app_{suffix}", f"migrate_{suffix}"
        self.folder = house.folder / "migrations"
        self.folder.mkdir()
        self.database.run(f"CREATE ROLE {self.owner} NOLOGIN")
        self.database.run(f"GRANT ALL ON SCHEMA public TO {self.owner}")
        self.database.run(
            f"SET ROLE {self.owner}; CREATE TABLE public.users (id bigint PRIMARY KEY, name text NOT NULL);"
            f"INSERT INTO public.users SELECT n, 'user ' || n FROM generate_series(1, {rows}) n; RESET ROLE"
        )
        self.database.run("ANALYZE public.users")
        house.database_lines = f'migrate = {{ user = "{self.login}", role = "{self.owner}" }}\n'
        house.extra += f'\n[migrations]\nfolder = "{self.folder}"\nenvironment = "development"\n'
        self.install()

    def install(self):
        """Run `sereno install`."""
        done = self.sereno("install", "main", "--admin", self.database.dsn)
        assert done.returncode in {0, 1}, done.stderr

    def sereno(self, *arguments, timeout=60):
        """Run a command, whatever its exit code."""
        return self.house.sereno(*arguments, check=False, timeout=timeout)

    def write(self, files=PREPARE, migration=ID):
        """Write a migration; None as a text leaves a file out."""
        folder = self.folder / migration
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            if text is None:
                (folder / name).unlink(missing_ok=True)
            else:
                (folder / name).write_text(text)
        return folder

    def principal(self, name, *may):
        """Configure a principal with rights; return its token."""
        from daemon.principals import make_token

        token, digest = make_token()
        self.house.extra += (
            f'\n[web.principals.{name}]\ntoken_sha256 = "{digest}"\nmay = {json.dumps(may)}\n'
        )
        return token

    def migrate(self, *arguments, timeout=60):
        """Run `sereno migrate`, in this process if its main thread asks."""
        if threading.current_thread() is threading.main_thread():
            return self.house.sereno_here("migrate", *arguments)
        return self.sereno("migrate", *arguments, timeout=timeout)

    def status(self, migration=ID):
        """Return the state of a migration."""
        done = self.migrate("status", migration, "--json")
        return json.loads(done.stdout)[0]

    def state(self, migration=ID):
        """Return state and last complete phase."""
        found = self.status(migration)
        return found["state"], found["phase"]


@pytest.fixture
def migrating(house):
    """Return a database that may be migrated, with the migration 0001_second_table."""
    made = Migrating(house)
    made.write()
    return made


@pytest.fixture
def any_migrating(any_house):
    """Return the same on every tested server version."""
    made = Migrating(any_house)
    made.write()
    return made
