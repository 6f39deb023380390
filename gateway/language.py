"""The two languages of the pages: messages, moments, durations and numbers as people read them.

Messages come from `locale/<language>/LC_MESSAGES/homeward.po`, read at start; no compiled catalogue is kept.
"""

from __future__ import annotations

import gettext
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache, reduce
from pathlib import Path
from typing import Final, Self

from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from alerts.alert import Text, utc_offset

# Code of a language (as in the catalogue's folder and in a patient's `language`) and its own name for itself.
LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh_CN": "简体中文"}
_PATTERN: Final[Mapping[str, tuple[str, str]]] = {
    "en": ("en_GB", "d MMM y, HH:mm"),
    "zh_CN": ("zh_CN", "y年M月d日 HH:mm"),
}
_LOCALE: Final = Path(__file__).parent / "locale"


class Sentence(str):
    """An English sentence that the pages say in their other languages too: a message with its places filled in."""

    __slots__ = ("message", "places")
    message: str
    places: Mapping[str, object]

    def __new__(cls, message: str, **places: object) -> Self:
        """The message is in the catalogue of each language; a place may hold a sentence or a text."""
        english = {name: each.en if isinstance(each, Text) else each for name, each in places.items()}
        made = super().__new__(cls, message.format(**english))
        made.message, made.places = message, places
        return made


def listed(said: Iterable[str]) -> str:
    """Sentences, or parts of one, one behind the other; "" where there is none."""
    return reduce(lambda one, other: Sentence("{one}; {other}", one=one, other=other) if one else other, said, "")


class Language:
    """One language of the pages."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.html = code.replace("_", "-")
        self.name = LANGUAGES[code]
        self.translations = _translations(code)

    def gettext(self, message: str) -> str:
        """The message in this language."""
        return self.translations.gettext(message)

    def ngettext(self, one: str, many: str, count: int) -> str:
        """The message for this number of things."""
        return self.translations.ngettext(one, many, count)

    def text(self, text: Text) -> str:
        """The sentence of a finding in this language."""
        return text.zh if self.code == "zh_CN" else text.en

    def sentence(self, said: str | Text) -> str:
        """A sentence in this language, as far as it has one."""
        if isinstance(said, Text):
            return self.text(said)
        if not isinstance(said, Sentence):
            return said
        places = {
            name: self.sentence(each) if isinstance(each, str | Text) else each for name, each in said.places.items()
        }
        return self.gettext(said.message).format(**places)

    def moment(self, moment: datetime, zone: tzinfo) -> str:
        """A moment on the clock of a zone, with that zone's offset from UTC."""
        local = moment.astimezone(zone)
        return f"{_worded(local.replace(second=0, microsecond=0, tzinfo=None), self.code)} {utc_offset(local)}"

    def duration(self, span: timedelta) -> str:
        """A span in its largest two units, as in "3 h 20 min"; less than a minute is "less than 1 min"."""
        minutes = int(span.total_seconds() // 60)
        if minutes < 1:
            return self.gettext("less than 1 min")
        days, hours = minutes // 1440, minutes // 60 % 24
        if days:
            return self.gettext("{days} d {hours} h").format(days=days, hours=hours)
        if hours:
            return self.gettext("{hours} h {minutes} min").format(hours=hours, minutes=minutes % 60)
        return self.gettext("{minutes} min").format(minutes=minutes)


@lru_cache(maxsize=16384)  # a page that stays open is asked for again and again, and nearly all its moments with it
def _worded(minute: datetime, code: str) -> str:
    locale, pattern = _PATTERN[code]
    return format_datetime(minute, pattern, locale=locale)


class Translated(Extension):
    """Words that stand in a template, `_("...")`, are translated when it is read, and not each time it is shown.

    For an environment of one language, whose `_` among the globals translates. A page says hundreds.
    """

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """Put the translation in the place of each such call."""
        last: deque[Token] = deque()
        for token in stream:
            last.append(token)
            if [each.type for each in last] == ["name", "lparen", "string", "rparen"] and last[0].value == "_":
                translate: Callable[[str], str] = self.environment.globals["_"]  # type: ignore[assignment]
                yield Token(token.lineno, "string", translate(last[2].value))
                last.clear()
            elif len(last) == 4:
                yield last.popleft()
        yield from last


def load_languages() -> dict[str, Language]:
    """Every language of the pages by its code."""
    return {code: Language(code) for code in LANGUAGES}


def choose(chosen: str | None, accept_language: str | None) -> str:
    """The code to use: what the person chose (a cookie), else what the browser asks for, else English."""
    if chosen is not None and chosen in LANGUAGES:
        return chosen
    asked: list[tuple[float, str]] = []
    for part in (accept_language or "").split(","):
        name, _, quality = part.strip().partition(";q=")
        # A browser may ask for zh-Hans, zh-SG or zh-TW: each reads our Chinese better than our English.
        code = {"zh": "zh_CN", "en": "en"}.get(name[:2].lower())
        with suppress(ValueError):
            if code:
                asked.append((-float(quality or 1), code))
    return min(asked, default=(0.0, "en"), key=lambda item: item[0])[1]


def _translations(code: str) -> gettext.NullTranslations:
    if code == "en":
        return gettext.NullTranslations()
    with (_LOCALE / code / "LC_MESSAGES" / "homeward.po").open("rb") as source:
        catalogue = read_po(source, locale=code)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
