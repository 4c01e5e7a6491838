def test_old_prepared_transaction_is_found(clusters, make_database, make_house, tmp_path, wait):
    with make_database(clusters("embedded", max_prepared_transactions="4")) as database:
        house = make_house(tmp_path, database)
        house.with_logins, house.extra = False, "[checks.prepared_transaction]\nwarning = 1\n"
        database.run("CREATE TABLE public.t (a int)")
        with database.connect() as other:
            other.execute("INSERT INTO public.t VALUES (1)")
            other.execute("PREPARE TRANSACTION 'it''s'")
        try:
            wait(lambda: house.run("integrity_check")["findings"], what="a second")
            finding = house.finding("integrity_check", "prepared_transaction")
            assert (finding["object"], finding["severity"]) == ("'it''s'", "warning")
            assert (
                finding["remedy"]
                == f"in database {database.name}: COMMIT PREPARED 'it''s'; or ROLLBACK PREPARED 'it''s';"
            )
        finally:
            database.run("ROLLBACK PREPARED 'it''s'")
        assert house.run("integrity_check")["findings"] == []
