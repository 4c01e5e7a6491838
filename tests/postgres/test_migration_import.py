"""Migrations of Alembic, Prisma and Sqitch: imported, rehearsed and applied; and their advice."""

import json

import pytest

from tests.postgres.migration_folder import Migrating

# as alembic 1.16 printed them
ALEMBIC = """BEGIN;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> a1

CREATE TABLE account (
    id BIGSERIAL NOT NULL,
    name TEXT DEFAULT 'it''s; a name' NOT NULL,
    PRIMARY KEY (id)
);

ALTER TABLE users ADD COLUMN account_id BIGINT;

COMMIT;

CREATE INDEX CONCURRENTLY users_account ON users (account_id);

BEGIN;

INSERT INTO alembic_version (version_num) VALUES ('a1') RETURNING alembic_version.version_num;

COMMIT;
"""
ALEMBIC_DOWN = """BEGIN;

-- Running downgrade a1 ->

COMMIT;

DROP INDEX CONCURRENTLY users_account;

BEGIN;

ALTER TABLE users DROP COLUMN account_id;

DROP TABLE account;

DELETE FROM alembic_version WHERE alembic_version.version_num = 'a1';

COMMIT;
"""
PRISMA = """-- CreateTable
CREATE TABLE "Account" (
    "id" BIGSERIAL NOT NULL,
    "name" TEXT NOT NULL,

    CONSTRAINT "Account_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "Account_name_key" ON "Account"("name");
"""
PLAN = """%syntax-version=1.0.0
%project=flipr
%uri=https://example.org/flipr

# a comment
appschema 2026-01-01T00:00:00Z Ana <ana@example.org> # Adds the schema.
accounts [appschema] 2026-01-02T00:00:00Z Ana <ana@example.org> # Adds accounts.
@v1.0 2026-01-03T00:00:00Z Ana <ana@example.org> # A tag.
"""


@pytest.fixture
def made(house):
    found = Migrating(house, rows=20)
    found.database.run(f'GRANT CREATE ON DATABASE "{found.database.name}" TO {found.owner}')
    return found


def imported(made, *arguments):
    """Import; return the folders that were made."""
    done = made.migrate("import", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    return sorted(one.name for one in made.folder.iterdir()), done.stdout


def rehearsed_and_applied(made, *ids):
    for one in ids:
        rehearsed = made.migrate("rehearse", one, "--embedded", "--seconds", "0.1")
        assert rehearsed.returncode == 0, rehearsed.stdout + rehearsed.stderr
        applied = made.migrate("apply", one, "--yes")
        assert applied.returncode == 0, applied.stdout + applied.stderr


def test_alembic_migration_is_rehearsed_applied_and_undone(made):
    (made.house.folder / "up.sql").write_text(ALEMBIC)
    (made.house.folder / "down.sql").write_text(ALEMBIC_DOWN)
    ids, _ = imported(
        *(made, "alembic", made.house.folder / "up.sql"),
        *("--down", made.house.folder / "down.sql", "--name", "Add accounts"),
    )
    assert ids == ["0001_add_accounts"]
    names = sorted(one.name for one in (made.folder / ids[0]).iterdir())
    assert names == [
        *("migration.toml", "prepare.10.sql", "prepare.20.notx.sql", "prepare.check.sql"),
        "prepare.rollback.sql",
    ]
    text = (made.folder / ids[0] / "prepare.10.sql").read_text()
    assert "it''s; a name" in text
    assert "alembic_version" not in text
    rehearsed_and_applied(made, *ids)
    assert made.database.value("SELECT to_regclass('public.users_account') IS NOT NULL")
    assert made.migrate("rollback", ids[0], "--yes").returncode == 0
    assert made.database.value("SELECT to_regclass('public.account') IS NULL")


def test_prisma_folder_keeps_its_order_and_needs_a_way_back(made):
    prisma = made.house.folder / "prisma"
    for name, text in {
        "20260101120000_init": PRISMA,
        "20260201120000_drop_name": 'ALTER TABLE "Account" DROP COLUMN "name";',
    }.items():
        (prisma / name).mkdir(parents=True)
        (prisma / name / "migration.sql").write_text(text)
    (prisma / "20260101120000_init" / "down.sql").write_text('DROP TABLE "Account";')
    (prisma / "migration_lock.toml").write_text('provider = "postgresql"')
    ids, told = imported(made, "prisma", prisma)
    assert ids == ["0001_init", "0002_drop_name"]
    assert "removes something: it waits for a person" in told
    assert "no way back was found" in told
    toml = (made.folder / ids[1] / "migration.toml").read_text()
    assert 'requires = ["0001_init"]' in toml
    assert 'irreversible = ["cleanup"]' in toml
    rehearsed_and_applied(made, ids[0])
    assert made.migrate("apply", ids[1], "--yes").returncode == 4


def test_sqitch_project_brings_its_reverts_and_verifications(made):
    project = made.house.folder / "flipr"
    texts = {
        "deploy/appschema.sql": "BEGIN;\nCREATE SCHEMA flipr;\nCOMMIT;\n",
        "revert/appschema.sql": "BEGIN;\nDROP SCHEMA flipr;\nCOMMIT;\n",
        "verify/appschema.sql": "BEGIN;\nSELECT pg_catalog.has_schema_privilege('flipr', 'usage');\nROLLBACK;\n",
        "deploy/accounts.sql": "BEGIN;\nCREATE TABLE flipr.account (id bigint PRIMARY KEY, name text);\nCOMMIT;\n",
        "revert/accounts.sql": "BEGIN;\nDROP TABLE flipr.account;\nCOMMIT;\n",
        "verify/accounts.sql": "BEGIN;\nSELECT id, name FROM flipr.account WHERE FALSE;\nSELECT 1/count(*) FROM information_schema.tables WHERE table_schema = 'flipr';\nROLLBACK;\n",
    }
    for name, text in texts.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / "sqitch.plan").write_text(PLAN)
    ids, _ = imported(made, "sqitch", project)
    assert ids == ["0001_appschema", "0002_accounts"]
    rehearsed_and_applied(made, *ids)
    assert made.migrate("check", ids[1]).returncode == 0
    made.database.run("DROP TABLE flipr.account")
    assert made.migrate("check", ids[1]).returncode != 0, "a verification that fails is seen"


def test_failing_import_leaves_nothing_and_empty_migrations_are_left_out(made):
    prisma = made.house.folder / "prisma"
    texts = {"1_a": PRISMA, "2_b": "-- This is an empty migration.", "3_c": "SELEC 1;"}
    for name, text in texts.items():
        (prisma / name).mkdir(parents=True)
        (prisma / name / "migration.sql").write_text(text)
    failed = made.migrate("import", "prisma", str(prisma))
    assert (failed.returncode, list(made.folder.iterdir())) == (2, [])
    (prisma / "3_c" / "migration.sql").write_text("COPY t FROM STDIN;")
    failed = made.migrate("import", "prisma", str(prisma))
    assert (failed.returncode, list(made.folder.iterdir())) == (2, [])
    (prisma / "3_c" / "migration.sql").write_text("DELETE FROM users -- all\n;\nCHECKPOINT;")
    ids, _ = imported(made, "prisma", prisma)
    assert ids == ["0001_1_a", "0002_3_c"]
    assert (
        made.folder / ids[1] / "prepare.sql"
    ).read_text() == "DELETE FROM users -- all\n;\nCHECKPOINT;\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("alembic", "empty.sql"), "no line `-- Running upgrade"),
        (("alembic", "none.sql"), "No such file"),
        (("alembic", "bad.sql"), "up, line 2: syntax error"),
        (("prisma", "none"), "No such file"),
        (("sqitch", "."), "sqitch.plan: No such file"),
        (("flyway", "."), "'flyway' is not one of"),
    ],
)
def test_source_that_cannot_be_imported_leaves_nothing(made, arguments, sentence):
    (made.house.folder / "empty.sql").write_text("SELECT 1;")
    (made.house.folder / "bad.sql").write_text("-- Running upgrade  -> a1\nSELEC 1;")
    kind, source = arguments
    done = made.migrate("import", kind, str(made.house.folder / source))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert list(made.folder.iterdir()) == []


def test_advice_names_file_line_and_rule(made):
    made.write(
        {
            "migration.toml": 'title = "x"\n',
            "prepare.sql": "-- a\nALTER TABLE users RENAME COLUMN name TO title;\nCREATE INDEX i ON users (title);\n",
            "prepare.check.sql": "-- @check c\nSELECT 1 WHERE false;\n",
            "prepare.rollback.sql": "DROP INDEX i;\nALTER TABLE users RENAME COLUMN title TO name;\n",
            "cleanup.sql": "UPDATE users SET title = '';\nALTER TABLE users DROP COLUMN title;\n",
            "cleanup.check.sql": "-- @check c\nSELECT id FROM users WHERE false;\n",
            "cleanup.rollback.sql": "ALTER TABLE users ADD COLUMN title text;\n",
        },
        "0001_x",
    )
    done = made.migrate("lint", "0001_x", "--json")
    assert done.returncode == 1, done.stderr
    found = {(one["file"], one["line"], one["rule"]) for one in json.loads(done.stdout)}
    assert found >= {
        ("migration.toml", 0, "no-probes"),
        ("prepare.check.sql", 0, "empty-check"),
        ("prepare.sql", 2, "breaks-old-application"),
        ("prepare.sql", 3, "work-under-lock"),
        ("prepare.sql", 3, "require-concurrent-index-creation"),
        ("cleanup.sql", 1, "unbatched-rows"),
        ("cleanup.sql", 2, "not-reversible"),
    }


def test_good_migration_has_no_advice(made):
    made.write()
    text = made.migrate("lint", Migrating.ID).stdout
    assert "syntax-error" not in text, "batch files are looked at with literals"
