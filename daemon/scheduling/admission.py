"""Which work may begin: at most some at once, and one at a time in each place. Pure."""

from collections.abc import Collection, Sequence


def admissible(
    waiting: Sequence[str], busy: Collection[str], working: int, at_once: int
) -> list[int]:
    """Return the positions of the waiting places that may begin, in their order.

    `busy` are the places that have begun; of them `working` count for the limit, since one that
    waits for its server leaves its turn to another.
    """
    taken = set(busy)
    admitted: list[int] = []
    for position, place in enumerate(waiting):
        if working + len(admitted) >= at_once:
            break
        if place not in taken:
            taken.add(place)
            admitted.append(position)
    return admitted
