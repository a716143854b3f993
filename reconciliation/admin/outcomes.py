"""What became of one document in a scan: by which rule it was matched and with what, in which break it is, or why it is excused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from hub.admin_ui import money, url_of
from reconciliation.admin.words import FATES, pair_title
from reconciliation.models import Break, Outcome, ReadingRow, Scan

MOST = 20
"""Readings, and counterparts of each, that are shown."""


@dataclass(frozen=True, slots=True)
class Found:
    """A reading with its fate. `others` are the readings it was matched with; `link` leads to its break."""

    reading: str
    worth: str
    fate: str
    look: str
    pair: str
    rule: str
    others: tuple[str, ...]
    link: str


def of(scan: Scan, term: str) -> list[Found]:
    """The readings of a scan that have this id, number or key of ours. Four statements, however many."""
    wanted = Q(external_id=term) | Q(number=term) | Q(reference=term)
    rows = list(ReadingRow.objects.filter(wanted, scan=scan).select_related("connection").order_by("pk")[:MOST])
    fates = {one.reading_id: one for one in Outcome.objects.filter(scan=scan, reading__in=[row.pk for row in rows])}
    shared = {(one.pair, one.token) for one in fates.values() if one.token and one.fate == "matched"}
    told: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for each in _together(scan, shared):
        told.setdefault((each.pair, each.token), []).append((each.reading_id, name(each.reading)))
    tokens = [one.token for one in fates.values() if one.fate == "break"]
    known = Break.objects.filter(legal_entity=scan.legal_entity, fingerprint__in=tokens).order_by("pk")
    breaks = {each.fingerprint: each for each in known}
    return [_found(row, fates.get(row.pk), told, breaks) for row in rows]


def _together(scan: Scan, shared: set[tuple[str, str]]) -> list[Outcome]:
    if not shared:
        return []
    wanted = Q()
    for pair, token in shared:
        wanted |= Q(pair=pair, token=token)
    rows = Outcome.objects.filter(wanted, scan=scan).select_related("reading__connection")
    return list(rows.order_by("reading")[: MOST * MOST])


def _found(row: ReadingRow, fate: Outcome | None, told: dict[Any, list[tuple[int, str]]], breaks: dict[str, Break]) -> Found:
    worth = money(row.total, row.currency) if row.total is not None and row.currency else ""
    if fate is None:
        return Found(name(row), worth, "not judged", "plain", "", "", (), "")
    others = tuple(words for pk, words in told.get((fate.pair, fate.token), ()) if pk != row.pk)[:MOST]
    broken = breaks.get(fate.token) if fate.fate == "break" else None
    return Found(
        name(row), worth, fate.fate, FATES.get(fate.fate, "plain"), pair_title(fate.pair), fate.rule.replace("_", " "), others,
        url_of(broken) if broken else "",
    )  # fmt: skip


def name(row: ReadingRow) -> str:
    """'erp: invoice 2026/17 (id 12)'."""
    number = f"{row.number} (id {row.external_id})" if row.number and row.number != row.external_id else row.external_id
    return f"{row.connection.slug}: {row.kind.replace('_', ' ')} {number}"
