"""The demo's configuration: every severity goes to every channel."""

import json
from collections.abc import Mapping
from pathlib import Path

from daemon.demo.cluster import Cluster

_CONFIG = """
[daemon]
name = "coop-demo"
timezone = "America/La_Paz"
state = {state}
checks = {checks}
listen = ""

[databases.main]
dsn = {dsn}
maintain = {{ user = "sereno_maintain" }}
data = {{ user = "sereno_data" }}
owner = {{ user = "sereno_owner" }}

[schedules.daily]
cron = "0 2 * * *"
jobs = [
  "log_cleanup", "analyze", "disk_check", "integrity_check", "corruption_check", "self_cleanup",
]
[schedules.weekly]
cron = "0 3 * * sun"
window = "4h"
jobs = ["archive", "vacuum", "health_report"]

[jobs.integrity_check]
# the sample server runs without fsync, and one table has no autovacuum, so that it is found ill
exclude = ["risky_setting", "autovacuum_disabled"]

[[jobs.log_cleanup.tables]]
table = 'public."AuditLog"'
column = "fecha"
keep = "400 days"

[[jobs.archive.tables]]
table = 'public."Evento"'
column = "fecha"
older_than = "300 days"
to = {archive}

[[checks.orphans]]
child = 'public."Pago"("factura_id")'
parent = 'public."Factura"("id")'
[[checks.same_tenant]]
child = 'public."Usuario"("persona_id", "cooperativa_id")'
parent = 'public."Persona"("id", "cooperativa_id")'

[channels.email]
type = "email"
host = "127.0.0.1"
port = {smtp}
tls = "none"
to = ["guardia@example.org"]
[channels.slack]
type = "slack"
token = {{ file = {token} }}
channel = "#operaciones"
api_url = "http://127.0.0.1:{slack}/api/"
[channels.ticket]
type = "webhook"
url = "http://127.0.0.1:{ticket}/api/incidents"
secret = {{ file = {secret} }}

[routes]
info = ["slack"]
warning = ["slack", "email", "ticket"]
high = ["slack", "email", "ticket"]
critical = ["slack", "email", "ticket"]
"""


def configure(kept: Path, scratch: Path, cluster: Cluster, ports: Mapping[str, int]) -> Path:
    """Write it into `kept` and its secrets into `scratch`; return its path."""
    secrets = {"token": "xoxb-demo-0000", "secret": "whsec_c2VyZW5vLWRlbW8tc2VjcmV0LTAwMDA="}
    paths = {name: scratch / name for name in secrets}
    for name, value in secrets.items():
        paths[name].write_text(value)
        paths[name].chmod(0o600)
    quoted = {
        "state": kept / "state.db",
        "archive": f"file://{kept}/archive",
        "checks": scratch / "checks.d",
        "dsn": f"host={cluster.socket} port={cluster.port} dbname=coop",
        **paths,
    }
    config = kept / "config.toml"
    config.write_text(
        _CONFIG.format(**{name: json.dumps(str(value)) for name, value in quoted.items()}, **ports)
    )
    return config
