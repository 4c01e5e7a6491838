"""The workers, the running runs and the databases of a fleet, as `sereno fleet` shows them."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from daemon.cli.options import fail, unknown_name
from daemon.cli.overview import Overview
from daemon.exit_codes import Exit
from daemon.history.fleet import FleetWorker
from domain.place import SEPARATOR


class Fleet:
    """The workers, the running runs and the databases, as the state has them now."""

    def __init__(self, overview: Overview) -> None:
        from daemon.history import fleet, history

        self.overview, self.now = overview, overview.now()
        with overview.store.reading() as transaction:
            self.workers: Sequence[FleetWorker] = fleet.load_workers(transaction)
            self.running = Counter(fleet.count_running(transaction))
            self._service = history.load_service(transaction)

    def renewed(self) -> "Fleet":
        """Return it as it is now."""
        return Fleet(self.overview)

    def find(self, name: str) -> FleetWorker:
        """Return a worker; exit if there is none of the name."""
        found = {one.name: one for one in self.workers}
        if name not in found:
            fail(unknown_name("worker", name, found), Exit.CANNOT)
        return found[name]

    def state_of(self, worker: FleetWorker) -> str:
        """Return the state of a worker in one word."""
        return worker.state(self.now, self.overview.stalled_after)

    def differs(self, worker: FleetWorker) -> bool:
        """Return whether a worker has another configuration than the leader."""
        leading = [one.digest for one in self.workers if one.process == self._service]
        return bool(worker.process and leading and worker.digest != leading[0])

    def is_well(self) -> bool:
        """Return whether one leads, and all workers give signs of life."""
        states = {self.state_of(one) for one in self.workers}
        return "silent" not in states and bool(self.leader())

    def leader(self) -> str:
        """Return the name of the leader; empty if there is none."""
        names = (one.name for one in self.workers if one.process == self._service)
        return next(names, "")

    def text(self) -> str:
        """Return the workers in one line."""
        working = sum(self.state_of(one) == "working" for one in self.workers)
        leads = f"{self.leader()} leads" if self.leader() else "none leads"
        return "; ".join([f"{working} at work, {leads}", *self.others()])

    def others(self) -> list[str]:
        """Return a sentence about each worker that takes no work."""
        found = []
        for one in self.workers:
            state = self.state_of(one)
            if state == "silent":
                found.append(f"{one.name} gives no sign of life for {ago(self.now - one.seen_at)}")
            elif state == "stopped":
                found.append(f"{one.name} is drained and stopped")
            elif state == "drained":
                found.append(f"{one.name} is drained")
            if self.differs(one):
                found.append(f"{one.name} has another configuration than the leader")
        return found

    def running_text(self) -> str:
        """Return how many runs are at work, and where."""
        shares = [(one.name, self.running[one.process]) for one in self.workers if one.process]
        shares = [(name, runs) for name, runs in shares if runs]
        total = sum(self.running.values())
        named = ", ".join(f"{name} {runs}" for name, runs in shares)
        return f"{total} ({named})" if named else str(total)

    def databases_text(self) -> str:
        """Return how many databases there are."""
        missing = [name for name in self.overview.absent if SEPARATOR in name]
        text = f"{len(self.overview.databases):,}"
        return f"{text}, {len(missing)} missing (sereno fleet databases)" if missing else text

    def summary(self) -> dict[str, Any]:
        """Return the values of `status`."""
        return {
            "leader": self.leader() or None,
            "workers": [self.row(one) for one in self.workers],
            "running": sum(self.running.values()),
            "databases": len(self.overview.databases),
            "missing": sorted(name for name in self.overview.absent if SEPARATOR in name),
            "state": self.overview.store.name,
        }

    def row(self, worker: FleetWorker) -> dict[str, Any]:
        """Return the values of a worker."""
        return {
            "name": worker.name,
            "state": self.state_of(worker),
            "leads": worker.process == self._service,
            "running": self.running[worker.process],
            "at_once": worker.at_once,
            "host": worker.worker.host if worker.worker else "",
            "process": worker.worker.process if worker.worker else None,
            "differs": self.differs(worker),
            "version": worker.version,
            "began_at": worker.began_at.isoformat(),
            "seen_at": worker.seen_at.isoformat(),
        }

    def database_rows(self) -> list[dict[str, Any]]:
        """Return the values of each database, those of groups that are missing too."""
        from alerts import alert_store
        from daemon.config.servers import address_of
        from daemon.history import statistics

        with self.overview.store.reading() as transaction:
            ends = statistics.load_last_ends(transaction)
            alerts = Counter(one.database for one in alert_store.load_open(transaction))
        last: dict[str, str] = {}
        for row in ends:
            last[row["database"]] = max(row["finished_at"], last.get(row["database"], ""))
        absent = {name: one for name, one in self.overview.absent.items() if SEPARATOR in name}
        return [
            {
                "name": name,
                "server": address_of(dsn),
                "tags": sorted(tags),
                "missing": name in absent,
                "last_run": last.get(name),
                "alerts": alerts[name],
            }
            for name, (dsn, tags) in sorted({**self.overview.databases, **absent}.items())
        ]


def ago(span: timedelta) -> str:
    """Return a span in its largest unit."""
    seconds = max(0, round(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
