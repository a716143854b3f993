"""The audit trail: one entry with each change, chained, never changed, and broken nowhere without a name."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from hub.audit import anchors, chain
from hub.audit.export import export
from hub.audit.models import AuditEntry
from reconciliation.invariants import check
from reconciliation.invariants.audit import INVARIANTS
from tests import facts


@pytest.fixture(autouse=True)
def own_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "AUDIT_ANCHORS", tmp_path / "anchors.jsonl")


@pytest.fixture
def tables(transactional_db: None) -> Iterator[None]:
    """The trail is empty before and after: committed entries cannot be rolled back."""
    facts.clear("audit_auditentry")
    yield
    facts.clear("audit_auditentry")


def append(n: int = 0, **told: Any) -> None:
    with transaction.atomic():
        chain.append("thing.changed", actor=f"ann{n}", after={"n": n, "name": "Zoë | 100 %"}, **told)


def broken() -> dict[str, list[str]]:
    return {finding.invariant.name: list(finding.named) for finding in check(INVARIANTS[:2]) if finding.count}


def tamper(statement: str) -> None:
    """What somebody with the owner's rights could do."""
    with facts.open_facts(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_entries_count_without_gaps_and_continue_each_other(tables: None) -> None:
    for n in range(3):
        append(n)
    with transaction.atomic():
        chain.append("thing.changed", actor="ann")
        transaction.set_rollback(True)
    append(3)
    entries = list(AuditEntry.objects.order_by("seq"))
    assert [entry.seq for entry in entries] == [1, 2, 3, 4]
    assert all(later.prev_hash == earlier.hash for earlier, later in itertools.pairwise(entries))
    assert not broken()


def test_an_entry_outside_the_transaction_of_its_change_is_refused(tables: None) -> None:
    with pytest.raises(AssertionError):
        chain.append("thing.changed", actor="ann")


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'bob'", "DELETE FROM {}", "TRUNCATE {}"])
def test_nobody_changes_the_trail(tables: None, statement: str) -> None:
    append()
    with pytest.raises(DatabaseError, match="insert-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format("audit_auditentry"))
    assert AuditEntry.objects.get().actor == "ann0"


def test_an_entry_written_by_hand_joins_the_chain(tables: None) -> None:
    append()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO audit_auditentry (seq, actor, action, object_kind, content, prev_hash, hash)
               VALUES (77, 'eve', 'a.b', '', '{"actor":"eve","action":"a.b","object_kind":"","object_id":null}', 'x', 'y')"""
        )
    append(2)
    assert list(AuditEntry.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3]
    assert not broken()


def test_many_writers_at_once_leave_one_unbroken_chain(tables: None) -> None:
    def write(n: int) -> None:
        try:
            for _ in range(25):
                append(n)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditEntry.objects.count() == 150
    assert not broken()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE audit_auditentry SET content = replace(content, 'Zoë', 'Zoe') WHERE seq = 3", "entry 3 has another content"),
        ("UPDATE audit_auditentry SET at = at - interval '1 day' WHERE seq = 3", "entry 3 has another content or time"),
        ("DELETE FROM audit_auditentry WHERE seq = 3", "entry 4 is missing: entry 4 follows entry 2"),
        ("UPDATE audit_auditentry SET actor = 'eve' WHERE seq = 3", "entry 3 has columns that say something else"),
        (
            """UPDATE audit_auditentry SET content = content || ' ',
               hash = encode(sha256(convert_to(prev_hash || '|' || seq || '|' || content || ' ', 'UTF8')), 'hex') WHERE seq = 3""",
            "entry 4 does not continue",
        ),
    ],
)
def test_whoever_tampers_is_named_at_the_first_broken_link(tables: None, damage: str, says: str) -> None:
    for n in range(5):
        append(n)
    tamper(damage)
    assert broken()["audit_chain_is_unbroken"][0].startswith(says)


def test_an_old_trail_that_was_hashed_without_times_goes_on(tables: None, tmp_path: Path) -> None:
    append()
    tamper(
        """UPDATE audit_auditentry
           SET hash = encode(sha256(convert_to(prev_hash || '|' || seq || '|' || content, 'UTF8')), 'hex') WHERE seq = 1"""
    )
    append(1)
    assert not broken()
    export(tmp_path / "old")
    assert verified(tmp_path / "old")[0] == 0
    tamper("UPDATE audit_auditentry SET at = at - interval '1 day' WHERE seq = 2")
    assert broken()["audit_chain_is_unbroken"][0].startswith("entry 2 has another content or time")


def test_a_trail_cut_off_at_its_end_misses_its_anchor(tables: None) -> None:
    for n in range(3):
        append(n)
    assert anchors.write() is not None
    assert anchors.write() is None, "nothing new"
    assert not broken()
    tamper("DELETE FROM audit_auditentry WHERE seq = 3")
    assert "entry 3 was anchored" in broken()["audit_chain_meets_its_anchors"][0]


def verified(folder: Path) -> tuple[int, str]:
    """The exit code and words of the script, run as an auditor would: without the hub."""
    done = subprocess.run(
        [sys.executable, "-I", folder / "verify_audit.py", folder], capture_output=True, text=True, check=False, cwd=folder
    )
    return done.returncode, done.stdout


def test_an_export_is_verified_by_its_own_script(tables: None, tmp_path: Path) -> None:
    for n in range(4):
        append(n)
    manifest = export(tmp_path / "all")
    assert verified(tmp_path / "all") == (0, f"unbroken: 4 entries, head {manifest['head']}\n")
    export(tmp_path / "part", first=3)
    assert verified(tmp_path / "part")[0] == 0
    with pytest.raises(FileExistsError):
        export(tmp_path / "all")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [lines[0], lines[1].replace("ann1", "ann7"), *lines[2:]], "entry 2 has another content"),
        (lambda lines: [lines[0], lines[1].replace('"at": "2', '"at": "1'), *lines[2:]], "entry 2 has another content or time"),
        (lambda lines: [lines[0], lines[1].replace('"at": ', '"at":'), *lines[2:]], "not the file the manifest was made for"),
        (lambda lines: [lines[0], *lines[2:]], "entry 2 is missing"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "entry 1 is missing"),
        (lambda lines: lines[:-1], "the export ends after 3 of 4 entries"),
    ],
)
def test_one_changed_byte_of_an_export_is_found(tables: None, tmp_path: Path, change: Any, says: str) -> None:
    for n in range(4):
        append(n)
    export(tmp_path / "x")
    file = tmp_path / "x" / "audit.jsonl"
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))
    code, words = verified(tmp_path / "x")
    assert code == 1
    assert says in words


def test_the_export_command_writes_itself_down(tables: None, tmp_path: Path) -> None:
    append()
    call_command("audit_export", str(tmp_path / "out"), stdout=(told := StringIO()))
    assert "1 entries" in told.getvalue()
    assert json.loads(AuditEntry.objects.latest("seq").content)["action"] == "audit.exported"
