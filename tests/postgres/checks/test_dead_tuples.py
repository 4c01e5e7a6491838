import pytest


def test_dead_tuples_above_number_and_ratio_are_found(any_house, flush):
    any_house.with_logins = False
    any_house.extra = "[checks.dead_tuples]\nrows = 1000\n"
    run = any_house.database.run
    run("CREATE TABLE public.t (a int) WITH (autovacuum_enabled = off)")
    run("INSERT INTO public.t SELECT generate_series(1, 4000)")
    run("DELETE FROM public.t WHERE a <= 900")
    flush()
    assert any_house.run("integrity_check")["findings"] == []
    run("DELETE FROM public.t WHERE a <= 1800")
    flush()
    finding = any_house.finding("integrity_check", "dead_tuples")
    assert (finding["object"], finding["severity"], finding["value"]) == (
        "public.t",
        "warning",
        pytest.approx(0.45),
    )
    run("DELETE FROM public.t WHERE a <= 3000")
    flush()
    assert any_house.finding("integrity_check", "dead_tuples")["severity"] == "high"
    run("VACUUM public.t")
    flush()
    assert any_house.run("integrity_check")["findings"] == []
