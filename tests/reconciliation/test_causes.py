"""Why a break is there: a table of what is known, and the same from rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from canonical.models import ExternalRef, Transition
from hub import review
from hub.models import InboxEvent, Run, Step
from reconciliation.breaking import causes
from reconciliation.breaking.causes import Facts, judge
from reconciliation.models import Break, Scan
from tests.reconciliation import vendor
from tests.reconciliation.world import connection, entity, fill, scan

Books = dict[str, vendor.Books]
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MISSING = Facts(left_id="in_1", left_is_watched=True)
BOTH = Facts(left_id="in_1", right_id="7", right_reference="billing/in_1", right_ref_id=3, right_posted_at=NOW)

TABLE: list[tuple[str, Facts, str, bool]] = [
    ("nothing came", MISSING, "missed webhook", True),
    ("a sweep brought it, and its run is done", replace(MISSING, sweep_id=5, run_id=1, run_state="done"), "missed webhook", True),
    ("nothing could have come", replace(MISSING, left_is_watched=False), "unknown", False),
    ("it came, and nothing was made of it", replace(MISSING, webhook_id=5), "unknown", False),
    ("its run is parked", replace(MISSING, webhook_id=5, run_id=1, run_state="parked"), "failed run", True),
    (
        "its run waits for a mapping",
        replace(MISSING, run_id=1, run_state="open", item_id=2, item_title="map it"),
        "failed run",
        True,
    ),
    ("its run is under way", replace(MISSING, run_id=1, run_state="open"), "not yet worked", True),
    ("it is being undone", replace(MISSING, run_id=1, run_state="compensating"), "not yet worked", True),
    ("a person ended its run", replace(MISSING, webhook_id=5, run_id=1, run_state="closed"), "ended by a person", True),
    ("it was posted", replace(MISSING, left_ref_id=3, run_id=1, run_state="done"), "gone from the ERP", True),
    ("posted, gone, and worked again", replace(MISSING, left_ref_id=3, run_id=1, run_state="open"), "not yet worked", True),
    ("the ERP has one that is not ours", Facts(right_id="7"), "made in the ERP by hand", True),
    ("billing has one that is not ours", Facts(right_id="cn_1", right_role="billing"), "made in billing by hand", True),
    ("recognition carries no reference of ours", Facts(right_id="7", right_kind="recognition"), "unknown", False),
    ("ours, and its original is gone", replace(BOTH, left_id=""), "unknown", False),
    ("the ERP's was changed after posting", replace(BOTH, right_changed_at=LATER), "changed in the ERP by hand", True),
    ("billing's was changed after posting", replace(BOTH, left_changed_at=LATER), "changed in billing after posting", True),
    ("both were changed", replace(BOTH, left_changed_at=LATER, right_changed_at=LATER), "unknown", False),
    ("changed by the posting itself", replace(BOTH, right_changed_at=NOW + timedelta(seconds=30)), "unknown", False),
    ("nobody knows when it was posted", replace(BOTH, right_posted_at=None, right_changed_at=LATER), "unknown", False),
]


@pytest.mark.parametrize(("known", "cause", "certain"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_cause_follows_from_what_is_known(known: Facts, cause: str, certain: bool) -> None:
    told, evidence, is_certain = judge(known)
    assert (told, is_certain) == (cause, certain)
    assert evidence or not certain, "what is certain has evidence"
    assert all(set(said) == {"text", "kind", "id"} and said["text"] for said in evidence)


# the same from rows ----------------------------------------------------------------------------------------------------


def a_break(of: Scan, number: int, *, right: bool = False, **told: Any) -> Break:
    """A break about invoice `number` of billing; `right`: and the ERP's."""
    left = {"system": "billing", "kind": "invoice", "id": f"in_{number:03}"}
    other = {"system": "erp", "kind": "invoice", "id": f"{number:03}"} if right else {}
    fields = {"left": left, "right": other, "type": "amount" if right else "missing_right", **told}
    return Break.objects.create(
        legal_entity=entity(), pair="invoices", fingerprint=f"{number:064}", title=f"invoice {number}", currency="EUR",
        exposed=120, first_scan=of, last_scan=of, **fields,
    )  # fmt: skip


def explained(of: Scan) -> dict[str, int]:
    with transaction.atomic():
        return causes.explain(of)


def an_event(number: int, origin: str) -> InboxEvent:
    return InboxEvent.objects.create(
        connection=connection("billing"), external_id=f"evt_{number}", kind="invoice.finalized", subject_kind="invoice",
        subject_id=f"in_{number:03}", origin=origin, disposition="ignored", body=b"{}", body_digest="0" * 64,
    )  # fmt: skip


def a_run(number: int, state: str, **told: Any) -> Run:
    return Run.objects.create(
        flow="order_to_cash", lane=f"invoice:{number}", connection=connection("billing"), subject_kind="invoice",
        subject_id=f"in_{number:03}", state=state, ended_at=None if state in ("open", "parked") else NOW, **told,
    )  # fmt: skip


def a_reference(role: str, number: int, external_id: str) -> ExternalRef:
    return ExternalRef.objects.create(
        connection=connection(role), kind="invoice", object_kind="invoice", object_id=number, external_id=external_id,
        number=f"N{number}", provenance="test",
    )  # fmt: skip


@pytest.fixture
def done(books: Books) -> Scan:
    """A scan of ten invoices on both sides, and no break yet."""
    billing = connection("billing")
    billing.set_webhook_secret("whsec_of_the_test")
    billing.save()
    fill(10)
    return scan()


def test_each_cause_is_found_in_the_rows_it_is_about(done: Scan) -> None:
    parked = a_run(2, "parked")
    item = review.open_item("refused", "2", "the ERP said no", source=connection("erp"))
    Step.objects.create(run=parked, name="post", lane=parked.lane, state="waiting", waiting_on=item)
    a_run(3, "done")
    a_run(3, "open", replay_of=Run.objects.get(subject_id="in_003"))
    for number in (4, 5, 6):
        a_reference("billing", number, f"in_{number:03}")
        a_reference("erp", number, f"{number:03}")
    ExternalRef.objects.update(valid_from=NOW - timedelta(days=30))
    swept, hook = an_event(1, "sweep"), an_event(7, "webhook")
    done.readings.filter(connection__slug="billing", external_id="in_006").update(updated_at=NOW - timedelta(days=60))
    done.readings.filter(connection__slug="erp", external_id="005").update(updated_at=NOW - timedelta(days=60))
    for number in (1, 2, 3, 4, 7):
        a_break(done, number)
    for number in (5, 6):
        a_break(done, number, right=True)
    a_break(done, 8, type="missing_left", left={}, right={"items": [{"system": "erp", "kind": "invoice", "id": "008"}]})
    done.readings.filter(external_id="008").update(reference="")

    told = explained(done)

    found = {int(b.fingerprint): b for b in Break.objects.order_by("id")}
    assert {number: b.cause for number, b in found.items()} == {
        1: "missed webhook", 2: "failed run", 3: "not yet worked", 4: "gone from the ERP", 5: "changed in billing after posting",
        6: "changed in the ERP by hand", 7: "unknown", 8: "made in the ERP by hand",
    }  # fmt: skip
    assert {number for number, b in found.items() if b.state == "open"} == {7} and told["unknown"] == 1
    named = {(said["kind"], said["id"]) for b in found.values() for said in b.evidence}
    assert {("inboxevent", swept.pk), ("inboxevent", hook.pk), ("reviewitem", item.pk), ("run", parked.pk)} <= named
    moved = Transition.objects.filter(object_kind="break", name="explain", source="open", target="explained")
    assert len(found) == 8 and moved.count() == 7 and moved.get(object_id=found[1].pk).note == "missed webhook"
    assert found[1].history.first().state == "explained" and found[7].history.first().cause == "unknown"


def test_a_cause_once_given_is_not_asked_for_again(done: Scan) -> None:
    a_break(done, 1)
    assert explained(done) == {"missed webhook": 1}
    assert explained(done) == {}


def test_a_cause_that_may_pass_is_judged_again(done: Scan) -> None:
    held = a_break(done, 1)
    run = a_run(1, "open")
    assert explained(done) == {"not yet worked": 1}
    kept = held.history.count()
    assert explained(done) == {"not yet worked": 1} and held.history.count() == kept, "nothing new, nothing written"
    an_event(1, "webhook")
    Run.objects.filter(pk=run.pk).update(state="done", ended_at=NOW)
    assert explained(done) == {"unknown": 1}
    assert Break.objects.get().state == "reopened"
    Run.objects.filter(pk=run.pk).update(state="closed")
    assert explained(done) == {"ended by a person": 1}
    assert list(Transition.objects.filter(object_kind="break").order_by("id").values_list("name", flat=True)) == [
        "explain", "reopen", "explain",
    ]  # fmt: skip


def test_causes_cost_as_many_queries_for_many_breaks_as_for_one(done: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    a_break(done, 0)
    with CaptureQueriesContext(database) as one:
        explained(done)
    for number in range(1, 10):
        a_break(done, number)
    with CaptureQueriesContext(database) as many:
        assert sum(explained(done).values()) == 9
    assert len(many) == len(one) <= 6
    Break.objects.update(cause="", state="open")
    monkeypatch.setattr(causes, "CHUNK", 4)
    assert sum(explained(done).values()) == 10, "in chunks, none is left out"
