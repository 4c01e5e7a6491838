"""No request that the OpenAPI document allows, or forbids, is answered by a server error.

`python -m tests.prove.interface_fuzz` serves the interface with an open alert, and has schemathesis
send requests to every operation, with valid, invalid and missing values. Exits with 1 for a 5xx.
"""

import subprocess
import sys
from pathlib import Path

from daemon.monitoring.log import set_up
from tests.e2e.test_status_page import Page
from tests.fixtures.proof import house_and_server


def main():
    set_up(quiet=True)
    with house_and_server() as (house, _server):
        house.database.run("CREATE SEQUENCE public.nearly MAXVALUE 100; SELECT setval('public.nearly', 96)")  # fmt: skip
        made = Page(house)
        made.add("ana", "read", "operate", "acknowledge", "execute", "approve", "rollback")
        made.house.run("integrity_check")
        with made.served():
            url = f"http://127.0.0.1:{made.port}"
            uv = Path(sys.executable).with_name("uv")
            found = subprocess.run(
                [uv, "tool", "run", "schemathesis", "run", f"{url}/api/v1/openapi.json", "--url", url,
                 "--header", f"Authorization: Bearer {made.tokens['ana']}", "--checks", "not_a_server_error"],
                check=False, cwd=house.folder,
            )  # fmt: skip
    sys.exit(found.returncode)


if __name__ == "__main__":
    main()
