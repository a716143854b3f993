"""The invariants of scans, broken by hand: exactly the broken one names it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciliation import scanning
from reconciliation.invariants import check, scans
from reconciliation.models import Break, Scan
from tests.reconciliation import vendor
from tests.reconciliation.world import entity, fill, scan
from tests.support.time import work
from tests.verify.conftest import sql

Books = dict[str, vendor.Books]
Damage = Callable[[Scan, Scan], None]


def broken() -> dict[str, str]:
    """The invariants of scans that do not hold, and the first violation of each."""
    return {finding.invariant.name: finding.named[0] for finding in check(scans.INVARIANTS) if finding.count}


def a_break(of: Scan) -> Break:
    return Break.objects.create(
        legal_entity=entity(), pair="invoices", type="amount", fingerprint="1" * 64, title="a break", first_scan=of, last_scan=of
    )


def abandoned(done: Scan, going: Scan) -> None:
    sql(
        f"DELETE FROM hub_step WHERE run_id IN (SELECT id FROM hub_run WHERE subject_id = '{going.pk}')",
        f"DELETE FROM hub_run WHERE subject_id = '{going.pk}'",
        "UPDATE reconciliation_scan SET started_at = now() - interval '1 hour'",
    )


def nobody_matches(done: Scan, going: Scan) -> None:
    work()
    sql(f"UPDATE canonical_transition SET at = now() - interval '1 hour' WHERE object_kind = 'scan' AND object_id = {going.pk}")


def no_certificate(done: Scan, going: Scan) -> None:
    sql(f"DELETE FROM reconciliation_certificate WHERE scan_id = {done.pk} AND kind = 'support_credit'")


def pruned(done: Scan, going: Scan) -> None:
    sql(f"UPDATE reconciliation_scan SET readings_pruned_at = now() - interval '2 days' WHERE id = {done.pk}")


def unsigned(done: Scan, going: Scan) -> None:
    sql("UPDATE audit_auditentry SET action = 'certificate.lost' WHERE action = 'certificate.signed'")


def whitewashed(done: Scan, going: Scan) -> None:
    sql("UPDATE reconciliation_certificate SET is_complete = true, as_read = at_source WHERE NOT is_complete")


def of_a_failed_scan(done: Scan, going: Scan) -> None:
    a_break(done)
    scanning.fail(going, by="otto", reason="enough")
    sql(f"UPDATE reconciliation_break SET last_scan_id = {going.pk}")


def moved_by_hand(done: Scan, going: Scan) -> None:
    held = a_break(done)
    sql(
        "INSERT INTO canonical_transition (object_kind, object_id, name, source, target, by, note) "
        f"VALUES ('break', {held.pk}, 'explain', 'open', 'explained', 'test', '')"
    )


@pytest.mark.parametrize(
    ("name", "do", "says"),
    [
        ("scans_in_progress_move", abandoned, "is reading, and nothing moves it"),
        ("scans_in_progress_move", nobody_matches, "is matching, and nothing moves it"),
        ("read_scans_have_certificates", no_certificate, "has no certificate of support/support_credit"),
        ("pruned_scans_keep_nothing_and_are_not_needed", pruned, "was pruned at"),
        ("certificates_are_audited", unsigned, "is not in the audit trail"),
        ("certificates_are_audited", whitewashed, "is not as it was signed"),
        ("breaks_belong_to_scans", of_a_failed_scan, "which is failed"),
        ("breaks_have_transitions", moved_by_hand, "is open, and its last transition led to explained"),
    ],
)
def test_exactly_the_broken_invariant_names_the_damage(books: Books, name: str, do: Damage, says: str) -> None:
    fill(4)
    books["billing"].lost = {"in_001"}
    done = scan()
    going = scanning.begin(entity(), full=True, by="test")
    assert broken() == {}
    do(done, going)
    found = broken()
    assert list(found) == [name] and says in found[name]
