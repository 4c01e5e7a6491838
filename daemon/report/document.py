"""The parts of a document that people read: HTML and text are made from the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from domain.finding import Severity


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and how its cells are set."""

    title: str
    right: bool = False
    mono: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A line or two of text; a soft one is less important."""

    text: str
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One alert: the fault, its object, its age, and the cure."""

    severity: Severity
    label: str
    title: str
    note: str
    place: str
    summary: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A day of a job in a calendar; `text` says the meaning of its colour."""

    state: Literal["none", "good", "left", "failed", "skipped"]
    text: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days from left to right, jobs from top to bottom."""

    heading: str
    days: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image by its name; its numbers stand in the tables beside it."""

    name: str
    description: str


Block = Table | Paragraph | Card | Calendar | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A section with its heading."""

    title: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document."""

    tongue: str
    title: str
    heading: str
    sentence: str
    severity: Severity
    colour: str
    """The word of the overall colour: green, yellow, orange, red."""
    sections: Sequence[Section] = ()
    footer: Sequence[str] = field(default_factory=tuple)
