"""One self-contained page from plain values: no file beside it, no request to anywhere, no script.

Every text is escaped by the template; images and videos are embedded.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

MIME = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
}
"""What a page can show, by suffix."""
MOST_MEDIA_BYTES = 8 << 20
"""Larger files are left out of the page, which is to be sent around."""


@dataclass(frozen=True)
class Labelled:
    """A value with its name."""

    label: str
    text: str


@dataclass(frozen=True)
class Picture:
    """An image or video, embedded.

    Attributes:
        alt: what it shows, for those who do not see it.
    """

    uri: str
    alt: str
    caption: str = ""
    video: bool = False

    @property
    def suffix(self) -> str:
        """Of a file that holds it (``.svg``)."""
        mime = self.uri.removeprefix("data:").split(";", 1)[0]
        return next(suffix for suffix, known in MIME.items() if known == mime)

    @property
    def data(self) -> bytes:
        """The image or video itself."""
        return base64.b64decode(self.uri.split(",", 1)[1])


@dataclass(frozen=True)
class Column:
    """How a column is headed and set."""

    text: str
    number: bool = False
    long: bool = False
    status: bool = False


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns."""

    cells: Sequence[str]
    first: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings."""

    heads: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out.

    Attributes:
        wide: whether its figures stand one below the other, each over the whole width.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    code: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Page:
    """The report as plain values.

    Attributes:
        lead: the outcome in one or two sentences.
        facts: what was run on what.
        cards: the figures one looks for first.
    """

    name: str
    lead: str
    facts: Sequence[Labelled]
    cards: Sequence[Labelled]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page as HTML."""
    return _template().render(page=page)


def embedded(data: bytes, suffix: str, alt: str, caption: str = "") -> Picture:
    """An image or video inside the page."""
    mime = MIME[suffix]
    return Picture(
        f"data:{mime};base64,{base64.b64encode(data).decode()}", alt, caption, mime.startswith("video/")
    )


def embedded_file(path: Path, caption: str = "") -> Picture | None:
    """A media file inside the page; None when it is missing, too large or of a kind a page cannot show."""
    if path.suffix not in MIME or not path.is_file() or path.stat().st_size > MOST_MEDIA_BYTES:
        return None
    return embedded(path.read_bytes(), path.suffix, f"{path.stem}", caption)


@cache
def _template() -> Template:
    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)
