OPTIONS = "[checks.xmin_horizon]\nwarning = 0.0000001\n"


def test_session_that_holds_xmin_horizon_is_found(any_house):
    any_house.with_logins, any_house.extra = False, OPTIONS
    run = any_house.database.run
    run("CREATE TABLE public.t (a int)")
    assert any_house.run("integrity_check")["findings"] == []
    with any_house.database.connect() as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM public.t")
        for _ in range(60):
            run("INSERT INTO public.t VALUES (1)")
        finding = any_house.finding("integrity_check", "xmin_horizon")
        assert (finding["object"], finding["severity"]) == (
            f"pid {other.info.backend_pid}",
            "warning",
        )
        assert "idle in transaction since" in finding["summary"]
    assert any_house.run("integrity_check")["findings"] == []


def test_inactive_replication_slot_is_found(clusters, make_database, make_house, tmp_path):
    with make_database(clusters("embedded", wal_level="logical")) as database:
        house = make_house(tmp_path, database)
        house.with_logins, house.extra = False, OPTIONS
        database.run("CREATE TABLE public.t (a int)")
        database.run("SELECT pg_create_logical_replication_slot('forgotten', 'test_decoding')")
        try:
            for _ in range(60):
                database.run("INSERT INTO public.t VALUES (1)")
            finding = house.finding("integrity_check", "xmin_horizon")
            assert (finding["object"], "inactive" in finding["summary"]) == (
                "slot forgotten",
                True,
            )
        finally:
            database.run("SELECT pg_drop_replication_slot('forgotten')")
