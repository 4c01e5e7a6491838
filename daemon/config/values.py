"""Types of configuration values, each parsed from text with an error that shows an example."""

import ipaddress
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator

from alerts.hours import Hours
from domain.units import quote_value

LAST_PORT = 65536


def parse_timezone(text: object) -> str:
    """Parse an IANA time zone name. Raises ValueError."""
    if not isinstance(text, str) or text not in available_timezones():
        raise ValueError(f'{quote_value(text)} is not a time zone (like "America/La_Paz")')
    return ZoneInfo(text).key


def _conninfo(text: str) -> str:
    if not text.strip():
        raise ValueError('is empty (like "host=/run/postgresql dbname=coop")')
    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        # libpq's own sentence may quote the password
        raise ValueError(
            'is not a connection string (like "host=/run/postgresql dbname=coop")'
        ) from None
    for port in filter(None, str(parts.get("port") or "").split(",")):
        if not port.isdecimal() or not 0 < int(port) < LAST_PORT:
            raise ValueError(f"its port {quote_value(port)} is not a number from 1 to 65535")
    return text


def parse_listen(text: object) -> str:
    """Parse `127.0.0.1:9188`, `[::1]:9188`, or the empty text. Raises ValueError."""
    if text == "":
        return ""
    try:
        host, port = split_address(str(text))
        ipaddress.ip_address(host)
    except ValueError:
        port = 0
    if not 0 < port < LAST_PORT:
        example = '(like "127.0.0.1:9188"; "" listens nowhere)'
        raise ValueError(f"{quote_value(text)} is not an address and port {example}")
    return str(text)


def parse_working_hours(text: object) -> str:
    """Parse `mon-fri 08:00-18:00`, or the empty text. Raises ValueError."""
    if text != "":
        Hours.read(str(text), "UTC")
    return str(text)


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host loses its brackets.

    Raises ValueError if the port is not a number.
    """
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


Conninfo = Annotated[str, AfterValidator(_conninfo)]
Listen = Annotated[str, BeforeValidator(parse_listen)]
WorkingHours = Annotated[str, BeforeValidator(parse_working_hours)]
TimeZone = Annotated[str, BeforeValidator(parse_timezone)]
