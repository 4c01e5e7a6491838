"""The languages of the report: the texts of the catalogues, and numbers and dates by Babel."""

from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from gettext import NullTranslations

from babel import Locale, dates, numbers

from alerts.catalogue import Tongue, catalogue
from domain import units


@dataclass(frozen=True)
class Language:
    """One language: its catalogue and its forms of numbers and dates."""

    name: Tongue
    locale: Locale
    catalogue: NullTranslations

    def text(self, message: str, **values: object) -> str:
        """Return a message of the catalogue, with its values filled in."""
        found = str(self.catalogue.gettext(message))
        return found.format(**values) if values else found

    def count(self, one: str, many: str, number: int, **values: object) -> str:
        """Return the form of a message for a number, which fills `{n}`."""
        found = str(self.catalogue.ngettext(one, many, number))
        return found.format(n=self.number(number), **values)

    def number(self, value: float) -> str:
        """Return a number with the separators of the language."""
        return str(numbers.format_decimal(value, locale=self.locale))

    def percent(self, share: float) -> str:
        """Return a share as whole percent."""
        return str(numbers.format_percent(share, locale=self.locale))

    def size(self, value: float) -> str:
        """Return a number of bytes."""
        return self._separated(units.format_size(value))

    def change(self, value: float) -> str:
        """Return a change in bytes with its sign."""
        return self._separated(units.format_size_change(value))

    def span(self, seconds: float) -> str:
        """Return a duration."""
        return self._separated(units.format_seconds(seconds))

    def about(self, seconds: float) -> str:
        """Return a duration in one rounded unit, for a narrow cell."""
        for length, unit in ((3600, "h"), (60, "min")):
            if seconds >= length:
                return f"{self.number(round(seconds / length, 1 if unit == 'h' else 0))} {unit}"
        return f"{self.number(max(round(seconds), 1))} s"

    def day(self, day: date) -> str:
        """Return a day in words, like Sunday, 8 March."""
        shape = "EEEE d 'de' MMMM" if self.name == "es" else "EEEE, d MMMM"
        return str(dates.format_date(day, shape, locale=self.locale))

    def short_day(self, day: date) -> str:
        """Return a weekday and day of the month, like Sun 8."""
        return str(dates.format_date(day, "EEE d", locale=self.locale))

    def date(self, day: date) -> str:
        """Return a date, like 8 Mar 2026."""
        return str(dates.format_date(day, "d MMM y", locale=self.locale))

    def minute(self, instant: datetime) -> str:
        """Return a date and a time to the minute, like 8 Mar, 02:00."""
        return str(dates.format_datetime(instant, "d MMM, HH:mm", locale=self.locale))

    def _separated(self, text: str) -> str:
        """Return a number with its unit, with the decimal sign of the language."""
        number, space, unit = text.partition(" ")
        sign = numbers.get_decimal_symbol(self.locale)
        return number.replace(".", str(sign)) + space + unit


@cache
def language(name: Tongue) -> Language:
    """Return a language by its name."""
    return Language(name, Locale.parse(name), catalogue(name))
