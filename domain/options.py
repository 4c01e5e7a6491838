"""The base of all option models, and types of option values, each parsed from text."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from domain.calendar import Cron, parse_cron
from domain.units import (
    format_duration,
    parse_duration,
    parse_retention,
    parse_size,
    quote_value,
)


class Model(BaseModel):
    """Base of the option models: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True
    )


def parsed(parse: Callable[[str], Any], kind: type, noun: str) -> BeforeValidator:
    """Return a validator that accepts a `kind` unchanged and parses text; `noun` is for errors."""

    def validate(value: object) -> Any:  # noqa: ANN401 - the type that `parse` returns
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not {noun}")  # noqa: TRY004 - pydantic gathers ValueErrors
        return parse(value)

    return BeforeValidator(validate)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{quote_value(str(path))} is not an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Retention = Annotated[timedelta, BeforeValidator(parse_retention), PlainSerializer(format_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
CronText = Annotated[Cron, parsed(parse_cron, Cron, "a cron line"), PlainSerializer(str)]
