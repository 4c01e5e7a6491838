"""Mistakes in a configuration, also translated from pydantic's errors."""

import difflib
import inspect
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from domain.redaction import redact
from domain.secret import Secret

_SENTENCES = {
    "missing": "is required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "int_from_float": "must be a whole number",
    "path_type": "must be a path",
    "date_type": "must be a day like 2027-01-31",
    "date_from_datetime_parsing": "must be a day like 2027-01-31",
    "date_from_datetime_inexact": "must be a day like 2027-01-31",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: path and message."""

    path: str
    sentence: str

    def __str__(self) -> str:
        """Return `jobs.log_cleanup.tables[1].keep: "5x" is not a duration`."""
        return f"{self.path}: {redact(self.sentence)}"


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: Sequence[str | int]
) -> Iterator[Problem]:
    """Translate pydantic's errors; values are quoted only by our own messages, never secrets."""
    details = error.errors(include_url=False, include_input=False)
    inside = {detail["loc"][:-1] for detail in details}
    replaced = set(_replaced(model, details))
    for detail in details:
        if detail["type"] == "missing" and detail["loc"] in replaced:
            continue  # present under an old or misspelt name, which is reported already
        if detail["type"] == "too_short" and detail["loc"] in inside:
            continue  # the items are wrong, which is reported for each of them
        path = format_location((*prefix, *(part for part in detail["loc"] if part != "[key]")))
        if detail["type"] == "extra_forbidden":
            yield Problem(path, _unknown(model, detail["loc"]))
        elif detail["type"] == "value_error":
            yield Problem(path, detail["msg"].removeprefix("Value error, "))
        elif detail.get("ctx", {}).get("class_name") == Secret.__name__:
            yield Problem(
                path,
                "must be { file = … }, { env = … } or { credential = … }, never the secret itself",
            )
        else:
            yield Problem(path, _sentence(detail))


_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _sentence(detail: ErrorDetails) -> str:
    """Return the sentence about a mistake; pydantic's own only for a kind that is not listed."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"must be {words} {context[key]}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters"
    if kind in {"literal_error", "enum"}:
        return f"must be one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return "must be made of letters, digits, _ and -"
    return _SENTENCES.get(kind, detail["msg"])


def format_location(location: Sequence[str | int]) -> str:
    """Return a location as in TOML: `schedules.daily.jobs[0]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


_RENAMED = {
    ("Route", "more"): "continue",
    ("Threshold", "lasting"): "for",
    ("Maintenance", "lasting"): "duration",
    ("Alerting", "drill"): "channel_test",
}
"""Keys of earlier versions by model and name."""


def _unknown(model: type[BaseModel], location: Sequence[str | int]) -> str:
    renamed, close, known = _meant(model, location)
    if renamed:
        return f"is now named {renamed!r}"
    if close:
        return f"is unknown; did you mean {close!r}?"
    return f"is unknown (known: {', '.join(known)})"


def _replaced(
    model: type[BaseModel], details: Sequence[ErrorDetails]
) -> Iterator[tuple[str | int, ...]]:
    """Yield the locations of the keys meant by unknown ones."""
    for detail in details:
        if detail["type"] == "extra_forbidden":
            renamed, close, _ = _meant(model, detail["loc"])
            if renamed or close:
                yield (*detail["loc"][:-1], renamed or close)


def _meant(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str, str, Sequence[str]]:
    """Return the new name of an unknown key, or the nearest known one; and the known ones."""
    *place, name = location
    holder = _holder(model, place)
    if holder is None:
        return "", "", ()
    known = sorted(field.alias or one for one, field in holder.model_fields.items())
    close = difflib.get_close_matches(str(name), known, 1)
    return _RENAMED.get((holder.__name__, str(name)), ""), close[0] if close else "", known


def _holder(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model that holds the unknown key; None if it is not a model."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            found = _model_in(model.model_fields[part].annotation)
            if found is None:
                return None
            model = found
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type expression
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        if issubclass(annotation, BaseModel):
            return annotation
        return None
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
