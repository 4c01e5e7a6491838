"""Which work may begin: some at once, some sessions in each server, one in each place. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one place, as far as limits concern it."""

    place: str
    server: str = ""
    """The address of the server in which it has sessions; empty without one."""
    sessions: int = 0
    priority: int = 0
    """The greater goes first."""
    counts: bool = True
    """Whether it is one of those at once; its sessions count in any case."""
    lost: bool = False
    """Whether its worker is lost."""
    again: bool = False
    """Whether it takes the place of a lost one, whose sessions may be there still."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most works at once, and the most sessions at once in each server."""

    at_once: int
    sessions: Mapping[str, int] = field(default_factory=dict)
    """By the key of the server."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The key of each address: two may lead to one server. It may change once a server is met."""

    def key(self, work: Work) -> str:
        """Return the key of the server of a work."""
        return self.keys.get(work.server, work.server)

    def renewed(self, other: "Limits") -> "Limits":
        """Return newer limits; those of servers that they do not name stay for what runs there."""
        sessions, keys = {**self.sessions, **other.sessions}, {**self.keys, **other.keys}
        return Limits(other.at_once, sessions, keys)


def admissible(
    waiting: Sequence[Work],
    busy: Collection[str],
    working: Sequence[Work],
    limits: Limits,
    silent: Collection[str] = (),
) -> list[int]:
    """Return the positions of the waiting works that may begin, in the order to begin them.

    `busy` are the places that have begun; `working` are the works that count for the limits, since
    one that waits for its server leaves its turn to another. A work that needs more sessions than
    its server allows begins when the server has no other, and one that is done `again` when it has
    no other but lost ones: where those had all sessions, none could ever begin. Nothing passes an
    earlier work of the same server that waits for sessions, and nothing begins in a server whose
    address is `silent`.
    """
    taken, full = set(busy), {limits.keys.get(one, one) for one in silent}
    used, lively = Counter[str](), Counter[str]()
    for one in working:
        used[limits.key(one)] += one.sessions
        lively[limits.key(one)] += one.sessions * (not one.lost)
    admitted: list[int] = []
    room = limits.at_once - sum(one.counts for one in working)
    for position in sorted(range(len(waiting)), key=lambda one: -waiting[one].priority):
        work = waiting[position]
        if work.counts and room <= 0:
            continue
        key = limits.key(work)
        if work.place in taken or key in full:
            continue
        if not _fits(work, used[key], lively[key], limits):
            full.add(key)
            continue
        taken.add(work.place)
        used[key] += work.sessions
        lively[key] += work.sessions
        room -= work.counts
        admitted.append(position)
    return admitted


def _fits(work: Work, used: int, lively: int, limits: Limits) -> bool:
    """Return whether the server of a work has room; `lively` sessions are not of lost works."""
    limit = limits.sessions.get(limits.key(work))
    if limit is None or not work.sessions or used + work.sessions <= limit:
        return True
    return not (lively if work.again else used)
