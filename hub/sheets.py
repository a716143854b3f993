"""Tables as files: CSV that no spreadsheet takes for formulas, and XLSX (ECMA-376) with nothing but values in it.

The same tables give the same bytes: archives carry no time.
"""

from __future__ import annotations

import codecs
import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any
from xml.sax.saxutils import escape

Row = Sequence[Any]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these in front a spreadsheet that opens a CSV computes (OWASP: CSV injection)."""
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EPOCH = (1980, 1, 1, 0, 0, 0)
DIGITS = 15
"""Significant digits a spreadsheet's numbers keep; longer ones stay text."""


def safe(value: Any) -> str:
    """A value as a CSV cell: text that would be computed gets an apostrophe in front. Numbers stay numbers."""
    if value is None:
        return ""
    text = _text(value)
    return text if isinstance(value, int | Decimal) or not text.startswith(FORMULA) else f"'{text}"


def csv_lines(rows: Iterable[Row]) -> Iterator[bytes]:
    """Line by line: UTF-8 with a byte order mark, so that Excel reads it as that; CRLF as RFC 4180 has it."""
    writer = csv.writer(_Echo(), lineterminator="\r\n")
    yield codecs.BOM_UTF8
    for row in rows:
        yield writer.writerow([safe(value) for value in row]).encode()


def to_csv(rows: Iterable[Row]) -> bytes:
    """The lines of `csv_lines` in one piece."""
    return b"".join(csv_lines(rows))


class _Echo:
    """What a csv writer writes to, when the lines are wanted back."""

    def write(self, line: str) -> str:
        return line


def to_xlsx(sheets: Mapping[str, Iterable[Row]]) -> bytes:
    """A workbook with one sheet per name, in that order. Text cells are inline strings: never formulas, whatever they begin with.

    Rows are taken one by one, a sheet after the other; what is kept in memory is the compressed file.
    """
    buffer = io.BytesIO()
    names = list(sheets)
    worksheets = [("worksheet", f"worksheets/sheet{n + 1}.xml") for n in range(len(names))]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        for path, content in (
            ("[Content_Types].xml", [_types(len(names))]),
            ("_rels/.rels", [_relations([("officeDocument", "xl/workbook.xml")])]),
            ("xl/workbook.xml", [_workbook(names)]),
            (
                "xl/_rels/workbook.xml.rels",
                [_relations(worksheets)],
            ),
            *((f"xl/worksheets/sheet{n + 1}.xml", _sheet(sheets[name])) for n, name in enumerate(names)),
        ):
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with book.open(entry, "w") as part:
                for piece in chain([HEAD], content):
                    part.write(piece.encode())
    return buffer.getvalue()


HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
KINDS = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def _types(count: int) -> str:
    parts = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n + 1}.xml" ContentType="{KINDS}.worksheet+xml"/>' for n in range(count)
    )
    return (
        f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{KINDS}.sheet.main+xml"/>{parts}</Types>'
    )


def _relations(targets: list[tuple[str, str]]) -> str:
    rows = "".join(f'<Relationship Id="rId{n + 1}" Type="{OFFICE}/{kind}" Target="{to}"/>' for n, (kind, to) in enumerate(targets))
    return f'<Relationships xmlns="{PACKAGE}/relationships">{rows}</Relationships>'


def _workbook(names: list[str]) -> str:
    sheets = "".join(f'<sheet name="{escape(name[:31])}" sheetId="{n + 1}" r:id="rId{n + 1}"/>' for n, name in enumerate(names))
    return f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{sheets}</sheets></workbook>'


def _sheet(rows: Iterable[Row]) -> Iterator[str]:
    yield f'<worksheet xmlns="{MAIN}"><sheetData>'
    yield from (f"<row>{''.join(_cell(value) for value in row)}</row>" for row in rows)
    yield "</sheetData></worksheet>"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "<c/>"
    if _is_number(value):
        return f"<c><v>{_text(value)}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(_printable(_text(value)))}</t></is></c>'


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    return len(Decimal(value).as_tuple().digits) <= DIGITS


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _printable(text: str) -> str:
    """Without the control characters that XML cannot carry."""
    return "".join(char for char in text if char in "\t\n\r" or (char >= " " and char not in "\ufffe\uffff"))
