"""The large foreign keys of `integrity_check`: each a step, the oldest look first.

One that is expected to take long is verified partition by partition and in ranges of blocks, each
with a look of its own: a window need not hold the whole of it. The parent is hashed anew for each.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from checks import foreign_keys
from checks.check import Check, OptionValues
from checks.constraints import ForeignKey, leaf_keys, questions_of
from domain.memory import Memory
from execution.control import StepControl
from execution.step import HostStep, Outcome, Status
from jobs.job import Domains
from jobs.steps.check_step import ForeignKeyStep
from postgres.session import Login, Session

PAGE = 8192
PAGES_PER_SECOND = 25_000.0
"""Pages of a child that an anti-join reads in a second, before there is a history."""
LONG_SECONDS, RANGE_SECONDS = 600.0, 300.0
"""A key that takes longer is verified in ranges of about this time."""
LEAST_RANGE = 65_536
"""Pages of a range: 512 MiB, or at least 500,000 rows of up to 1 kB."""


@dataclass(frozen=True, slots=True)
class LargeKeys:
    """The foreign keys that a run looks at in steps of their own."""

    parts: Sequence[tuple[Login, ForeignKey]] = ()
    """The keys, partitions or ranges, and the login of each."""
    labels: tuple[str, ...] = ()
    """The keys that are left out of the step of all others."""
    others: int = 0
    """The keys of that step."""
    former: tuple[str, ...] = ()
    """The names under which these keys were looked at before, and are not any more."""
    superseded: tuple[str, ...] = ()
    """Those of them whose keys have been looked at as a whole under the present names."""

    @property
    def apart(self) -> tuple[str, ...]:
        """Return the names whose alerts the step of the other keys leaves alone."""
        return (*(key.label for _, key in self.parts), *self.former)


def read_large_keys(domains: Domains, memory: Mapping[str, Memory]) -> LargeKeys:
    """Read the foreign keys of all trust domains from the catalog; takes no lock on any table."""
    found = LargeKeys()
    for one in domains.all():
        if one.session is None or one.domain.wrong:
            continue
        keys = foreign_keys.readable_keys(one.session, one.domain)
        large = [key for key in keys if key.pages >= foreign_keys.LARGE_PAGES]
        found = replace(found, others=found.others + len(keys) - len(large))
        for key in large:
            present = list(_parts(one.session, key, memory))
            found = _with_key(found, key.label, [(one.login, part) for part in present], memory)
    return found


def _with_key(
    found: LargeKeys,
    label: str,
    parts: Sequence[tuple[Login, ForeignKey]],
    memory: Mapping[str, Memory],
) -> LargeKeys:
    """Add one key, with the names that it had before."""
    names = {part.label for _, part in parts}
    former = [name for name in memory if _is_of(name, label) and name not in names]
    superseded = [name for name in former if _are_newer(names, name, memory)]
    return replace(
        found,
        parts=[*found.parts, *parts],
        labels=(*found.labels, label),
        former=(*found.former, *former),
        superseded=(*found.superseded, *superseded),
    )


def _are_newer(names: Collection[str], former: str, memory: Mapping[str, Memory]) -> bool:
    """Return whether all of some names were looked at after a former one was for the last time."""
    looks = [memory[name].at for name in names if name in memory]
    last = memory[former].at
    return len(looks) == len(names) and all(at and last and at > last for at in looks)


def _is_of(name: str, label: str) -> bool:
    """Return whether a name is that of a key, or of a part of it."""
    return name == label or name.startswith((f"{label} in ", f"{label} blocks "))


def _parts(session: Session, key: ForeignKey, memory: Mapping[str, Memory]) -> Iterator[ForeignKey]:
    """Yield a key, or the partitions and ranges that it is verified in."""
    seconds = predicted_seconds(key, memory)
    if seconds <= LONG_SECONDS:
        yield key
    elif key.pair.child_only:
        yield from ranges(key, seconds)
    else:
        for leaf in leaf_keys(session, key):
            yield from ranges(leaf, seconds * leaf.pages / max(key.pages, 1))


def ranges(key: ForeignKey, seconds: float) -> Iterator[ForeignKey]:
    """Yield a key, or ranges of its child; their size is a power of two, so that it lasts."""
    if seconds <= LONG_SECONDS:
        yield key
        return
    wanted = max(int(key.pages * RANGE_SECONDS / seconds), LEAST_RANGE)
    size = 1 << (wanted.bit_length() - 1)
    for first in range(0, key.pages, size):
        is_last = first + size >= key.pages
        yield key.in_blocks(first, None if is_last else first + size - 1, size)


def predicted_seconds(key: ForeignKey, memory: Mapping[str, Memory]) -> float:
    """Return the duration of the last look, or a guess by its pages."""
    before = memory.get(key.label)
    return before.seconds if before else key.pages / PAGES_PER_SECOND


def key_steps(
    keys: LargeKeys,
    check: Check,
    options: OptionValues,
    memory: Mapping[str, Memory],
    now: datetime,
) -> Iterator[ForeignKeyStep]:
    """Yield a step for each part, the oldest look first."""
    for login, key in sorted(keys.parts, key=lambda part: _last_look(memory, part[1])):
        before = memory.get(key.label)
        yield ForeignKeyStep(
            object=key.label,
            why=f"to {key.pair.parent}, {key.pages * PAGE / 1e9:.1f} GB of rows",
            check=check,
            options=options,
            text=";\n".join(one.as_string(None).strip() for one in questions_of(key)),
            now=now,
            predicted_seconds=predicted_seconds(key, memory),
            has_history=before is not None,
            logins=(login,),
            key=key,
        )


def _last_look(memory: Mapping[str, Memory], key: ForeignKey) -> tuple[bool, datetime | None, str]:
    before = memory.get(key.label)
    at = before.at if before else None
    return at is not None, at, key.label


@dataclass(frozen=True, slots=True, kw_only=True)
class CountKeys(HostStep):
    """Counts the verified foreign keys as of the beginning of the run."""

    counts: Mapping[str, float]
    """The keys, those that were verified, and the age in days of the oldest look."""
    superseded: tuple[str, ...] = ()
    """The former names of parts, whose alerts end."""
    name: str = "count"
    object: str = "foreign keys"
    alone: bool = True

    def statement(self) -> str:
        """Return a comment: it runs no statement."""
        return "-- from the history of this job"

    def apply(self, _control: StepControl) -> Outcome:
        """Return nothing but success: the counts are of the plan."""
        return Outcome(Status.DONE)


def count_keys(keys: LargeKeys, memory: Mapping[str, Memory], now: datetime) -> CountKeys:
    """Return the step that counts; a key in parts counts for each of them."""
    others = memory.get(foreign_keys.CHECK.header.name)
    looks = [one.at for _, key in keys.parts if (one := memory.get(key.label)) and one.at]
    proven = len(looks)
    if others is not None and others.at and keys.others:
        looks.append(others.at)
        proven += keys.others
    oldest = (now - min(looks, default=now)) / timedelta(days=1)
    wanted = len(keys.parts) + keys.others
    counts = {"keys_wanted": wanted, "keys_proven": proven, "oldest_key_days": oldest}
    return CountKeys(
        counts={name: float(value) for name, value in counts.items()}, superseded=keys.superseded
    )
