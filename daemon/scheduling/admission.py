"""Which work may begin: some at once, some sessions in each server, one in each place. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one place, as far as limits concern it."""

    place: str
    server: str = ""
    """The server in which it has sessions; empty without one."""
    sessions: int = 0
    priority: int = 0
    """The greater goes first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most works at once, and the most sessions at once in each server."""

    at_once: int
    sessions: Mapping[str, int] = field(default_factory=dict)


def admissible(
    waiting: Sequence[Work], busy: Collection[str], working: Sequence[Work], limits: Limits
) -> list[int]:
    """Return the positions of the waiting works that may begin, in the order to begin them.

    `busy` are the places that have begun; `working` are the works that count for the limits, since
    one that waits for its server leaves its turn to another. A work that needs more sessions than
    its server allows begins when the server has no other. Nothing passes an earlier work of the
    same server that waits for sessions.
    """
    taken, full = set(busy), set[str]()
    used: Counter[str] = Counter()
    for one in working:
        used[one.server] += one.sessions
    admitted: list[int] = []
    for position in sorted(range(len(waiting)), key=lambda one: -waiting[one].priority):
        if len(working) + len(admitted) >= limits.at_once:
            break
        work = waiting[position]
        if work.place in taken or work.server in full:
            continue
        if not _fits(work, used[work.server], limits):
            full.add(work.server)
            continue
        taken.add(work.place)
        used[work.server] += work.sessions
        admitted.append(position)
    return admitted


def _fits(work: Work, used: int, limits: Limits) -> bool:
    """Return whether the server of a work has room for its sessions."""
    limit = limits.sessions.get(work.server)
    return limit is None or not work.sessions or not used or used + work.sessions <= limit
