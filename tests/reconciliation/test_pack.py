"""The close pack: the same in every form, safe to open, and its hash can be checked without the hub."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from hub import roles, sheets
from hub.audit.models import AuditEntry
from reconciliation import closing
from reconciliation.closing import pack
from reconciliation.models import Break, PeriodClose, Scan
from tests.reconciliation import vendor
from tests.reconciliation.staff import person
from tests.reconciliation.test_closing import OCTOBER, break_of, october
from tests.reconciliation.world import entity, scan

Books = dict[str, vendor.Books]
MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def parsed(data: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(data)  # noqa: S314  (written by us a moment ago)


def read_xlsx(data: bytes) -> dict[str, list[list[str]]]:
    """Sheet → rows of texts; formulas would be an error."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        names = [sheet.get("name", "") for sheet in parsed(book.read("xl/workbook.xml")).iter(f"{MAIN}sheet")]
        found = {}
        for n, name in enumerate(names):
            root = parsed(book.read(f"xl/worksheets/sheet{n + 1}.xml"))
            assert root.find(f".//{MAIN}f") is None
            found[name] = [["".join(cell.itertext()) for cell in row.iter(f"{MAIN}c")] for row in root.iter(f"{MAIN}row")]
        return found


def read_csv(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


@pytest.fixture
def signed(books: Books) -> PeriodClose:
    october()
    scan()
    break_of(OCTOBER, title='=HYPERLINK("http://evil.example")')
    close = PeriodClose.objects.create(legal_entity=entity(), period=OCTOBER)
    prepared = closing.prepare(close, person("ann", roles.SENIOR), {"breaks": "known"})
    return closing.sign(prepared, person("carla", roles.CONTROLLER))


def test_the_hash_is_the_sha256_of_the_json(signed: PeriodClose, tmp_path: Path) -> None:
    pack.write(signed, tmp_path / "pack")
    data = (tmp_path / "pack" / "close.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == signed.hash
    assert json.loads((tmp_path / "pack" / "about.json").read_text())["hash"] == signed.hash
    assert json.loads(data)["totals"][0]["total"] == "360"


def test_workbook_and_csv_say_the_same(signed: PeriodClose) -> None:
    book, files = read_xlsx(pack.as_xlsx(signed)), pack.as_csv(signed)
    assert tuple(book) == pack.TABLES
    for name in pack.TABLES:
        rows = read_csv(files[f"{name.replace(' ', '_')}.csv"])
        assert [[cell.removeprefix("'") for cell in row] for row in rows] == book[name], name
    assert ["erp", "invoice", "EUR", "open", "3", "300", "60", "360"] in book["control totals"]
    assert ["hash", signed.hash] in book["close"] and ["signed by", "carla"] in book["close"]


def test_a_title_that_is_a_formula_is_text_in_both(signed: PeriodClose) -> None:
    cells = [cell for row in read_csv(pack.as_csv(signed)["breaks_left.csv"]) for cell in row]
    assert '\'=HYPERLINK("http://evil.example")' in cells
    assert any('=HYPERLINK("http://evil.example")' in row for row in read_xlsx(pack.as_xlsx(signed))["breaks left"])


def test_the_pack_of_a_signed_close_is_what_was_signed_with_what_changed_since(signed: PeriodClose) -> None:
    before = pack.as_json(signed)
    Break.objects.update(exposed=Decimal(9))
    assert pack.as_json(signed) == before
    (head, change) = pack.tables(signed)["changes since"]
    assert head == ("part", "entry", "before", "now") and '"exposed": "9"' in change[3]


NUMBERS = st.integers() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9)


@given(st.text() | NUMBERS | st.none())
def test_no_text_of_a_csv_is_computed_by_a_spreadsheet(value: Any) -> None:
    cell = sheets.safe(value)
    assert not isinstance(value, str) or not cell.startswith(sheets.FORMULA)
    assert not isinstance(value, str) or cell in (value, f"'{value}")


@given(st.lists(st.lists(st.text() | st.integers(min_value=-(10**14), max_value=10**14), min_size=1, max_size=4), max_size=4))
def test_a_workbook_is_well_formed_and_keeps_what_it_is_given(rows: list[list[Any]]) -> None:
    data = sheets.to_xlsx({"one": rows})
    assert data == sheets.to_xlsx({"one": rows})

    def told(value: Any) -> str:
        text = "".join(c for c in str(value) if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff"))
        return text.replace("\r\n", "\n").replace("\r", "\n")  # XML has one line end

    assert read_xlsx(data)["one"] == [[told(value) for value in row] for row in rows]


def test_the_command_writes_the_pack_once_and_says_so_in_the_trail(signed: PeriodClose, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "pack"
    call_command("close_pack", "acme", "2026-10", "--out", str(out))
    assert signed.hash in capsys.readouterr().out
    assert {"close.json", "close.xlsx", "control_totals.csv", "about.json"} <= {file.name for file in out.iterdir()}
    assert AuditEntry.objects.filter(action="periodclose.exported").count() == 1
    for entity_code, period, folder in (
        ("acme", "2026-10", out), ("acme", "October", tmp_path / "x"), ("nobody", "2026-10", tmp_path / "x"),
    ):  # fmt: skip
        with pytest.raises(CommandError):
            call_command("close_pack", entity_code, period, "--out", str(folder))


def test_a_month_nobody_prepared_has_a_pack_of_how_it_is_now(books: Books, tmp_path: Path) -> None:
    october()
    scan()
    call_command("close_pack", "acme", "2026-10", "--out", str(tmp_path / "pack"))
    assert json.loads((tmp_path / "pack" / "about.json").read_text())["state"] == "open"
    assert not PeriodClose.objects.exists() and Scan.objects.count() == 1
