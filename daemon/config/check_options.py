"""The table `[checks.*]`, validated against the headers of the checks."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from pydantic import ValidationError

from checks.bounds import MOST_FINDINGS
from checks.broken_check import BrokenCheck
from checks.check import Header, Option
from checks.options import CheckOptions, CheckPair, IgnoredObject
from checks.references import Pair
from checks.registry import PAIRED, Known
from daemon.config.problem import Problem, problems_of
from postgres.identifiers import Columns, parse_columns

_SEVERITIES = ("warning", "high", "critical")


def check_options(
    values: object, checks: Known, problems: list[Problem]
) -> dict[str, CheckOptions]:
    """Return the options of every check with defaults; append mistakes to `problems`."""
    table = values if isinstance(values, Mapping) else {}
    if values is not None and not isinstance(values, Mapping):
        problems.append(Problem("checks", "must be a table"))
    problems += [
        Problem(f"checks.{name}", f"is not a check{_nearest(name, checks)}")
        for name in table.keys() - checks.keys()
    ]
    options = {}
    for name, check in checks.items():
        path = f"checks.{name}"
        given = table.get(name)
        if isinstance(check, BrokenCheck):  # its options are not known either
            options[name] = CheckOptions()
            continue
        if name in PAIRED:
            options[name] = CheckOptions(pairs=tuple(_pairs(path, given, problems)))
            continue
        defaults: dict[str, object] = {"most_findings": MOST_FINDINGS}
        defaults |= {option: one.default for option, one in check.header.options.items()}
        ignore = tuple(_ignored(f"{path}.ignore", given, problems))
        values = dict(_values(path, given, defaults, problems))
        problems += _doubtful(path, values, check.header)
        options[name] = CheckOptions(values=defaults | values, ignore=ignore)
    return options


def _values(
    path: str, given: object, defaults: Mapping[str, object], problems: list[Problem]
) -> Iterator[tuple[str, object]]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        problems.append(Problem(path, "must be a table"))
        return
    for option, value in given.items():
        if option == "ignore":
            continue
        if option not in defaults:
            problems.append(
                Problem(f"{path}.{option}", f"is not known{_nearest(option, defaults)}")
            )
        elif not _alike(value, defaults[option]):
            kind = "a number" if _is_number(defaults[option]) else f"like {defaults[option]!r}"
            problems.append(Problem(f"{path}.{option}", f"must be {kind}"))
        else:
            yield option, value


def _ignored(path: str, given: object, problems: list[Problem]) -> Iterator[IgnoredObject]:
    """Yield the objects whose findings are not told."""
    listed = given.get("ignore", ()) if isinstance(given, Mapping) else ()
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        problems.append(Problem(path, "must be a list of tables"))
        return
    for number, item in enumerate(listed):
        try:
            yield IgnoredObject.model_validate(item)
        except ValidationError as error:
            problems += problems_of(error, IgnoredObject, (*path.split("."), number))


def _doubtful(path: str, given: Mapping[str, object], header: Header) -> Iterator[Problem]:
    """Yield given numbers that no value can reach, and thresholds in the wrong order.

    What a check of the operator measures is not known: its numbers have to be finite only.
    """
    for option, value in given.items():
        if _is_number(value) and (wrong := _out_of_range(option, float(str(value)), header)):
            yield Problem(f"{path}.{option}", f"{value} is not {wrong}")
    thresholds = [(name, given[name]) for name in _SEVERITIES if _is_number(given.get(name))]
    for (lower, low), (higher, high) in pairwise(thresholds):
        first, second = float(str(low)), float(str(high))
        if (first > second) if header.order == "rising" else (first < second):
            yield Problem(
                f"{path}.{higher}", f"{high} is less severe than {lower} = {low}: exchange them"
            )


def _out_of_range(option: str, number: float, header: Header) -> str:
    """Return what the number of an option should be; empty if it may be so."""
    if not math.isfinite(number):
        return "a finite number"
    if header.built_in and number < 0:
        return "a number of 0 or more"
    is_share = header.options.get(option, Option(0)).help.startswith("share")
    if header.built_in and is_share and not 0 < number <= 1:
        return "a share: above 0 and at most 1 (0.8 is 80 %)"
    return ""


def _alike(value: object, default: object) -> bool:
    if _is_number(default):
        return _is_number(value)
    return type(value) is type(default)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pairs(path: str, given: object, problems: list[Problem]) -> Iterator[CheckPair]:
    if given is None:
        return
    if not isinstance(given, list):
        problems.append(Problem(path, f"must be a list of tables (write [[{path}]])"))
        return
    for number, item in enumerate(given):
        place = f"{path}[{number}]"
        if not isinstance(item, Mapping) or item.keys() - {"database"} != {"child", "parent"}:
            problems.append(
                Problem(place, "needs the keys child and parent (database is optional)")
            )
            continue
        child = _columns(f"{place}.child", item["child"], problems)
        parent = _columns(f"{place}.parent", item["parent"], problems)
        if child is None or parent is None:
            continue
        least = 1
        if path == "checks.same_tenant":
            least = 2
        if len(child.names) != len(parent.names) or len(child.names) < least:
            problems.append(
                Problem(place, f"child and parent need the same number of columns, {least} or more")
            )
            continue
        database = item.get("database")
        yield CheckPair(
            pair=Pair(child, parent), database=None if database is None else str(database)
        )


def _columns(path: str, text: object, problems: list[Problem]) -> Columns | None:
    try:
        return parse_columns(str(text))
    except ValueError as error:
        problems.append(Problem(path, str(error)))
        return None


def _nearest(name: object, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(str(name), known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f" (known: {', '.join(sorted(known)) or 'none'})"
