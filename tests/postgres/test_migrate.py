"""Migrations on a server: apply in phases, resume, roll back, refuse."""

from tests.postgres.migration_folder import Migrating

ID = Migrating.ID


def test_migration_is_applied_up_to_its_gate_and_rolled_back(migrating):
    planned = migrating.migrate("plan", ID)
    assert planned.returncode == 0, planned.stderr
    applied = migrating.migrate("apply", ID, "--yes")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert migrating.state() == ("waiting_gate", "tighten")
    assert migrating.database.value("SELECT count(*) FROM public.new_table") == 1000
    closed = migrating.migrate("apply", ID, "--yes")
    assert closed.returncode == 4, closed.stdout + closed.stderr
    cleaned = migrating.migrate("apply", ID, "--yes", "--until", "cleanup")
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    assert migrating.state() == ("done", "cleanup")
    back = migrating.migrate("rollback", ID, "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert migrating.state() == ("rolled_back", "")
    kept = migrating.database.value("SELECT count(*) FROM public.sereno_archive_0001_new_table_1")
    assert kept == 1000
