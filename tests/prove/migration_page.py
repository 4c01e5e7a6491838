"""Screenshots of the page of migrations at phone and desktop width, in light and dark mode.

`python -m tests.prove.migration_page [FOLDER]` starts the service on an embedded server, waits until
a migration is in progress, a second one waits at its gates and a third has failed, and opens the page
in Chromium. The page may load nothing from elsewhere; the screenshots are for visual inspection.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from itertools import product
from pathlib import Path

from daemon.demo.cluster import free_port
from tests.fixtures.proof import house_and_server
from tests.postgres.migration_folder import PREPARE, Migrating

WIDTHS = {"phone": 500, "desktop": 1100}
SCHEMES = {"light": (), "dark": ("--force-dark-mode", "--enable-features=WebContentsForceDark:inversion_method/none", "--blink-settings=preferredColorScheme=0")}  # fmt: skip
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars")  # fmt: skip
BATCHES = '[steps."data.10_fill.batch.sql"]\ntable = "public.users"\nkey = "id"\npause = {}\n'
TOML = 'title = "A second table"\narchive = ["public.new_table"]\n'


def prepared(house):
    """Return a database with one migration that waits, one that failed and one that is slow."""
    made = Migrating(house, rows=1000)
    house.extra = house.extra.replace(
        'environment = "development"', 'environment = "b"\nladder = ["a", "b", "c"]'
    )
    failing = "ALTER TABLE users ADD COLUMN x int REFERENCES nothing;"
    checks = {
        "prepare.check.sql": "-- @check c\nSELECT 1 WHERE false;",
        "prepare.rollback.sql": "-- nothing",
    }
    made.write({"migration.toml": 'title = "Fails"', "prepare.sql": failing} | checks, "0002_fails")
    made.write(
        {
            "migration.toml": 'title = "Waits for its gates"',
            "prepare.sql": "ALTER TABLE users ADD COLUMN y int;",
        }
        | checks,
        "0003_waits",
    )
    made.write(PREPARE | {"migration.toml": TOML + BATCHES.format(40)})
    for migration in ("0001_second_table", "0002_fails"):
        for gate in ("begin.rehearsal", "begin.rung"):
            made.migrate("waive", migration, gate, "--reason", "for the picture")
    made.migrate("apply", "0002_fails", "--yes")
    made.migrate("batch", Migrating.ID, "--rows", "10")
    return made


def picture(url, path, width, flags):
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", *FLAGS, *flags, f"--user-data-dir={profile}", f"--window-size={width},1400", f"--screenshot={path}", url],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip


def main():
    if shutil.which("chromium") is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sereno-page-"))
    folder.mkdir(parents=True, exist_ok=True)
    with house_and_server() as (house, _server):
        port = free_port()
        made = prepared(house)
        house.extra += f'\n[web]\nlisten = "127.0.0.1:{port}"\n'
        house.start("run")
        apply = threading.Thread(target=made.migrate, args=("apply", Migrating.ID, "--yes"))
        apply.start()
        url = f"http://127.0.0.1:{port}/migrations"
        wait_for_batches(url)
        for (name, width), (scheme, flags) in product(WIDTHS.items(), SCHEMES.items()):
            picture(url, folder / f"migrations-{name}-{scheme}.png", width, flags)
        made.migrate("pause", Migrating.ID)
        apply.join(60)
        house.close()
    print(f"migration_page: {len(WIDTHS) * len(SCHEMES)} screenshots in {folder}")


def wait_for_batches(url):
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/progress?id={Migrating.ID}", timeout=5) as answer:  # noqa: S310 - ours
                if json.load(answer)["rowsDone"] > 50:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("no batch was run")


if __name__ == "__main__":
    main()
