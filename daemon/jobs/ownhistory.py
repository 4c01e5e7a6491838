"""What sereno remembers of itself leaves by the same rules: finished runs, ended alerts, delivered messages."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.config.values import in_words
from postgres.connection import Session
from postgres.pace import Pace
from postgres.step import Outcome, Status


@dataclass(frozen=True, slots=True)
class OwnHistory:
    """Forget what ended before; the transaction that records this step does it."""

    before: datetime
    rows: int
    keep: timedelta
    name: str = "forget"
    object: str = "sereno's own history"
    lock: str = ""
    predicted_seconds: float = 0.0
    limit_seconds: float = 60.0
    alone: bool = False

    @property
    def why(self) -> str:
        """How much, and since when."""
        return f"{self.rows} runs, alerts and messages ended more than {in_words(self.keep)} ago (daemon.keep)"

    def statement(self) -> str:
        """Nothing is asked of a server."""
        return f"-- forgets what ended before {self.before:%Y-%m-%d}"

    def apply(self, _session: Session | None, _pace: Pace) -> Outcome:
        """Say that it is to be done."""
        return Outcome(Status.DONE, rows=self.rows)
