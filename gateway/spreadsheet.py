"""Tables for spreadsheets: CSV in UTF-8 with a byte order mark, in which no text is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from starlette.responses import Response

Cell = str | int | float | date | None

# What begins a formula in a spreadsheet; Chinese ones take the wide signs as well (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """The rows as CSV (RFC 4180) behind a byte order mark. Numbers are written as they are, None as nothing."""
    out = io.StringIO()
    out.write("\ufeff")
    writer = csv.writer(out)
    writer.writerow(map(_cell, head))
    writer.writerows(map(_cell, row) for row in rows)
    return out.getvalue()


def download(name: str, text: str) -> Response:
    """The table as a file of that name, which is plain ASCII."""
    return Response(
        text.encode(errors="replace"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _cell(value: Cell) -> Cell:
    """An apostrophe before what a spreadsheet would compute: it shows the rest as text."""
    if isinstance(value, str) and value.lstrip(" \u3000").startswith(_FORMULA):
        return f"'{value}"
    return value
