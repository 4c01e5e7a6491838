"""Tables with dead rows, and a limit on the speed of VACUUM."""


def create_dead_rows(database, name, rows=1000, options=""):
    database.run(f"CREATE TABLE public.{name} (a int) WITH (autovacuum_enabled = off{options})")
    database.run(f"INSERT INTO public.{name} SELECT generate_series(1, {rows})")
    database.run(f"DELETE FROM public.{name} WHERE a % 2 = 0")


def throttle_vacuum(database, limit=10):
    """Limit VACUUM of new sessions to about a hundred times `limit` pages a second."""
    for name, value in {
        "delay": 10,
        "limit": limit,
        "page_hit": 1,
        "page_miss": 1,
        "page_dirty": 0,
    }.items():
        database.run(f'ALTER DATABASE "{database.name}" SET vacuum_cost_{name} = {value}')


def reset_throttle(database):
    database.run(f'ALTER DATABASE "{database.name}" RESET ALL')
