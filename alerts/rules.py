"""The operator's alert rules: models of the configuration, used by the policy as they are."""

from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, StringConstraints

from alerts.alert import Alert
from domain.finding import Severity
from domain.options import CronText, Duration, Model
from domain.place import means

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Count = Annotated[int, Field(ge=1, le=1000)]


class Matcher(Model):
    """Selects alerts by shell patterns; fields that are not given match everything."""

    severity: tuple[Severity, ...] = ()
    database: str = Field("*", description="Of a group its name, or its name and /*.")
    job: str = Field("*", description="The job that the alert is about.")
    check: str = Field(
        "*", description="The kind of the alert: the name of a check, or task_failed and the like."
    )
    object: str = "*"
    tag: str = Field("", description="A tag of its database.")

    def matches(self, alert: Alert, tags: frozenset[str] = frozenset()) -> bool:
        """Return whether an alert matches; `tags` are those of its database."""
        pairs = (
            (alert.task, self.job),
            (alert.kind, self.check),
            (alert.object, self.object),
        )
        return (
            (not self.severity or alert.severity in self.severity)
            and (means(self.database, alert.database) or fnmatchcase(alert.database, self.database))
            and all(fnmatchcase(value, pattern) for value, pattern in pairs)
            and (not self.tag or self.tag in tags)
        )

    def given(self) -> Mapping[str, str | tuple[Severity, ...]]:
        """Return the fields of the matcher that differ from their defaults."""
        fields = Matcher.model_fields
        values = {name: getattr(self, name) for name in fields}
        return {name: value for name, value in values.items() if value != fields[name].default}


class Threshold(Matcher):
    """The number of findings and the duration before an alert fires, and before it ends."""

    failures: Count = Field(1, description="Fire after this many consecutive looks have found it.")
    duration: Duration = Field(
        timedelta(), alias="for", description="Fire only after it has existed for this long."
    )
    passes: Count = Field(
        1, description="Resolve after this many consecutive looks have not found it."
    )


class Route(Matcher):
    """Channels instead of those of the severity. The first matching route decides."""

    channels: tuple[str, ...] = Field(examples=['["slack"]'])
    continues: bool = Field(
        default=False,
        alias="continue",
        description="Notify these channels and continue with later routes.",
    )
    repeat: Duration | None = Field(None, description="Repeat an open alert after this time.")


class Maintenance(Matcher):
    """Recurring silence for matching alerts; those still firing at its end are notified then."""

    cron: CronText = Field(
        description="The start of the window, in the zone of [daemon].", examples=['"0 1 * * sat"']
    )
    duration: Duration = Field(examples=['"3h"'])
    author: Text = Field(examples=['"name"'])
    reason: Text = Field(examples=['"why"'])


class EscalationStep(Model):
    """Channels notified of a critical alert that stays unacknowledged this long."""

    after: Duration = timedelta(minutes=30)
    channels: tuple[str, ...] = Field(min_length=1, examples=['["email"]'])
