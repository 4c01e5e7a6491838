"""The reference migration in a database of its own: rollback from each phase, with writes between."""

import shutil

import pytest

from tests.postgres.migration_folder import Migrating
from tests.postgres.test_rehearsal import EXAMPLE, SCHEMA

ID = EXAMPLE.name
OLD_WRITES = """
UPDATE "Usuario" SET cooperativa_id = 'c3' WHERE id = 'u2';
UPDATE "Usuario" SET activo = false WHERE id = 'u4';
INSERT INTO "Usuario" (id, cooperativa_id, email) VALUES ('old', 'c1', 'old@example.org');
INSERT INTO "UsuarioRol" (id, usuario_id, rol_id, cooperativa_id) VALUES ('old', 'old', 'r1', 'c1');
DELETE FROM "UsuarioRol" WHERE id = 'ug1';
"""
NEW_WRITES = """
INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id) VALUES ('u50', 'c1');
INSERT INTO "Usuario" (id, email) VALUES ('new', 'new@example.org');
INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id, es_principal) VALUES ('new', 'c2', true);
INSERT INTO "UsuarioRol" (id, usuario_cooperativa_id, rol_id)
SELECT 'new', id, 'r2' FROM "UsuarioCooperativa" WHERE usuario_id = 'new';
INSERT INTO "UsuarioRolGlobal" (usuario_id, rol_id) VALUES ('new', 'r5');
DELETE FROM "UsuarioRolGlobal" WHERE usuario_id = 'u20' AND rol_id = 'r5';
UPDATE "UsuarioCooperativa" SET activo = false WHERE usuario_id = 'u8' AND es_principal;
"""


class Cooperative(Migrating):
    """The cooperative with the rows of the migration's sample."""

    def __init__(self, house):
        super().__init__(house, rows=1)
        sample = (EXAMPLE / "sample.sql").read_text()
        self.database.run(f"SET ROLE {self.owner}")
        self.database.run(SCHEMA)
        self.database.run(sample)
        self.database.run("RESET ROLE; RESET search_path")
        shutil.copytree(EXAMPLE, self.folder / ID)
        self.install()

    def apply(self, *phases):
        for phase in phases:
            done = self.migrate("apply", ID, "--yes", "--until", phase)
            assert done.returncode == 0, done.stdout + done.stderr

    def old_shape(self):
        """Return users and roles as the old application sees them."""
        users = self.database.rows('SELECT id, cooperativa_id, activo FROM "Usuario" ORDER BY id')
        roles = self.database.rows(
            'SELECT usuario_id, rol_id, cooperativa_id FROM "UsuarioRol" ORDER BY 1, 2, 3'
        )
        return users, roles


@pytest.fixture
def cooperative(any_house):
    return Cooperative(any_house)


def expected_shape(before, *, filled):
    """Return what has to be there after the writes, from what was there before them."""
    users = {row["id"]: row for row in before[0]}
    users["u2"]["cooperativa_id"], users["u4"]["activo"] = "c3", False
    users["old"] = {"id": "old", "cooperativa_id": "c1", "activo": True}
    roles = [tuple(row.values()) for row in before[1]]
    roles.append(("old", "r1", "c1"))
    roles.remove(("u10", "r5", None))
    users["new"] = {"id": "new", "cooperativa_id": "c2", "activo": True}
    roles += [("new", "r2", "c2"), ("new", "r5", None)]
    if filled:  # before, the new shape has nothing to change
        users["u8"]["activo"] = False
        roles.remove(("u20", "r5", None))
    return list(users.values()), roles


@pytest.mark.parametrize("last", ["prepare", "data", "tighten", "cleanup"])
def test_rollback_keeps_what_both_applications_wrote(cooperative, last):
    database, before = cooperative.database, cooperative.old_shape()
    phases = ["prepare", "data", "tighten", "cleanup"]
    cooperative.apply("prepare")
    database.run(OLD_WRITES)
    cooperative.apply(*phases[1 : phases.index(last) + 1])
    database.run(NEW_WRITES)
    memberships = database.value('SELECT count(*) FROM "UsuarioCooperativa"')
    shutil.rmtree(cooperative.folder / ID)
    back = cooperative.migrate("rollback", ID, "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert cooperative.state(ID) == ("rolled_back", "")
    users, roles = cooperative.old_shape()
    wanted_users, wanted_roles = expected_shape(before, filled=last != "prepare")
    assert sorted(users, key=lambda row: row["id"]) == sorted(
        wanted_users, key=lambda row: row["id"]
    )
    found = sorted((tuple(row.values()) for row in roles), key=str)
    assert found == sorted(wanted_roles, key=str)
    archive = 'public."sereno_archive_0001_UsuarioCooperativa_1"'
    assert database.value(f"SELECT count(*) FROM {archive}") == memberships
    second = database.rows(
        f"SELECT usuario_id FROM {archive} WHERE usuario_id = 'u50' AND NOT es_principal"
    )
    assert second == [{"usuario_id": "u50"}], "the old shape has no place for it"
    shutil.copytree(EXAMPLE, cooperative.folder / ID)
    cooperative.apply("prepare", "data")
    database.run(
        f'INSERT INTO "UsuarioCooperativa" SELECT * FROM {archive} a WHERE NOT es_principal ON CONFLICT DO NOTHING'
    )
    kept = database.value("""SELECT count(*) FROM "UsuarioCooperativa" WHERE usuario_id = 'u50'""")
    assert kept == 2, "restored from the archive"


def test_whole_migration_leaves_the_new_shape_alone(cooperative):
    cooperative.apply("prepare", "data", "tighten", "cleanup", "purge")
    assert cooperative.state(ID) == ("purged", "purge")
    columns = cooperative.database.rows(
        """SELECT attname FROM pg_attribute WHERE attrelid IN ('"Usuario"'::regclass, '"UsuarioRol"'::regclass)
        AND attnum > 0 AND NOT attisdropped AND attname ~ '^(zz|cooperativa|usuario_id)'"""
    )
    assert columns == []
    assert cooperative.database.value('SELECT count(*) FROM "UsuarioRolGlobal"') == 40
    refused = cooperative.migrate("rollback", ID, "--yes")
    assert refused.returncode == 2
    assert "purge is irreversible" in refused.stderr
