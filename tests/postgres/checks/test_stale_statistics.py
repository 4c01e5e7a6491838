def test_table_with_many_changes_since_last_analyze_is_found(any_house, flush):
    any_house.with_logins = False
    run = any_house.database.run
    run("CREATE TABLE public.t (a int); CREATE TABLE public.small (a int)")
    run(
        "INSERT INTO public.t SELECT generate_series(1, 20000); INSERT INTO public.small SELECT generate_series(1, 500)"
    )
    flush()
    finding = any_house.finding("integrity_check", "stale_statistics")
    assert (finding["object"], finding["severity"], finding["value"]) == (
        "public.t",
        "warning",
        20000,
    )
    assert "(never)" in finding["summary"]
    run("ANALYZE public.t")
    run("INSERT INTO public.t SELECT generate_series(1, 30000)")
    flush()
    found = any_house.run("integrity_check")["findings"]
    assert {one["kind"] for one in found} == {"no_primary_key"}
    any_house.extra = "[checks.stale_statistics]\ndays = 0\n"
    assert any_house.finding("integrity_check", "stale_statistics")["value"] == 30000
