"""The languages of readers: a gettext catalogue for each; English is the language of the code.

A catalogue is `locale/<language>.po`. What is not in it (names, values, texts of a server) stays as
it is. Its library is loaded when a text in another language is needed, not before.
"""

import gettext
import io
from functools import cache
from importlib import resources
from typing import Literal

Tongue = Literal["en", "es"]
TONGUES: tuple[Tongue, ...] = ("en", "es")


@cache
def catalogue(tongue: Tongue) -> gettext.NullTranslations:
    """Return the catalogue of a language; that of English changes nothing."""
    if tongue == "en":
        return gettext.NullTranslations()
    from babel.messages import mofile, pofile

    text = (resources.files("alerts") / "locale" / f"{tongue}.po").read_bytes()
    binary = io.BytesIO()
    mofile.write_mo(binary, pofile.read_po(io.BytesIO(text)))
    binary.seek(0)
    return gettext.GNUTranslations(binary)


def counted(tongue: Tongue, one: str, many: str, number: int) -> str:
    """Return the form of a message for a number, which fills `{n}`."""
    return catalogue(tongue).ngettext(one, many, number).format(n=number)


def said(tongue: Tongue, message: str, **values: object) -> str:
    """Return a message in a language, with its values filled in."""
    found = catalogue(tongue).gettext(message)
    return found.format(**values) if values else found
