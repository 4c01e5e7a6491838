OPTIONS = "[checks.long_transaction]\nwarning = 1\nhigh = 100\n"


def test_long_transaction_is_found_with_pid(any_house, wait):
    any_house.with_logins, any_house.extra = False, OPTIONS
    with any_house.database.connect(application_name="the report's") as other:
        other.execute("SELECT 1")
        pid = other.info.backend_pid
        wait(lambda: any_house.run("integrity_check")["findings"], what="a second")
        finding = any_house.finding("integrity_check", "long_transaction")
        assert (finding["object"], finding["severity"], finding["database"]) == (
            f"pid {pid}",
            "warning",
            "",
        )
        assert "'the report''s' of postgres" in finding["summary"]
        assert f"WHERE pid = {pid} AND backend_start = " in finding["remedy"]
    assert any_house.run("integrity_check")["findings"] == []
