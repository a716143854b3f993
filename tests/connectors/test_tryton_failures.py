"""How the Tryton connector reads failures, shown with the twin's faults; what it promises is in tests/peers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from canonical.commands import EnsureParty, PostInvoice, RegisterPayment, ReverseDocument, Written
from canonical.types import Invoice, InvoiceStatus
from connectors.sdk.errors import BadPayload, Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.vendors import tryton
from connectors.vendors.tryton import CONNECTOR, mapping
from connectors.vendors.tryton.client import TrytonClient, untag
from connectors.vendors.tryton.fake import TrytonTwin

CREATE = r"POST /twin/rest/model/account\.invoice"
SAMPLES = Path(tryton.__file__).parent / CONNECTOR.sample_folder
RPC = "POST /twin/rpc/"
SETTLE = r"POST /twin/rpc/wizard\.account\.move\.reconcile_lines\.execute"


@pytest.fixture
def twin() -> Iterator[TrytonTwin]:
    with TrytonTwin() as twin:
        yield twin


@pytest.fixture
def client(twin: TrytonTwin) -> TrytonClient:
    return open_client(twin.url)


@pytest.fixture
def request_(twin: TrytonTwin, client: TrytonClient) -> PostInvoice:
    party = run("ensure_party", client, EnsureParty(key="p", code="cus_1", name="Acme"))
    # Everything that is remembered is read now, so that the faults below meet the calls they name.
    run("post_invoice", client, invoice(party.external_id, "warm-up"))
    return invoice(party.external_id, "inv_1")


@pytest.fixture
def to_reverse(client: TrytonClient, request_: PostInvoice) -> ReverseDocument:
    document = run("post_invoice", client, request_).external_id
    about: dict[str, Any] = {"party": request_.party, "currency": "USD", "document_on": request_.document_on}
    return ReverseDocument(key="rev_1", document=document, total=request_.total, **about)


def open_client(base_url: str) -> TrytonClient:
    entry = TrytonTwin.entry
    settings = CONNECTOR.settings(base_url=base_url, database=entry["database"])
    secrets = CONNECTOR.credentials(**{name: entry[name] for name in ("rest_key", "login", "password")})
    client: TrytonClient = CONNECTOR.open(settings, secrets, Http())
    return client


def invoice(party: str, key: str) -> PostInvoice:
    today = TrytonTwin().db.today
    line: dict[str, Any] = {"description": "Plan", "revenue_account": "4.2.2", "net": 100, "tax": 20}
    given: dict[str, Any] = {"currency": "USD", "document_on": today, "lines": [{**line, "tax_codes": ["VAT20"]}]}
    return PostInvoice(key=key, party=party, total=Decimal(120), **given)


def run(name: str, client: TrytonClient, request: Any, timeout: float = 5) -> Written:
    return CONNECTOR.commands[name].run(client, request, Call(timeout=timeout))


def find(client: TrytonClient, request: ReverseDocument) -> Written | None:
    find = CONNECTOR.commands["reverse_invoice"].find
    assert find is not None
    return find(client, request, Call())


def posted(twin: TrytonTwin, key: str) -> list[dict[str, Any]]:
    return [document for document in twin.books()["documents"] if document["key"] == key]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"fault": "drop_reply"}, Unknown),
        ({"fault": "cut"}, Unknown),
        ({"fault": "garbage"}, Unknown),
        ({"fault": "status", "status": 500}, Unknown),
        ({"fault": "status", "status": 502, "after": True}, Unknown),
        ({"fault": "status", "status": 503}, Busy),
        ({"fault": "status", "status": 429, "retry_after": "7"}, Busy),
        ({"fault": "status", "status": 400}, Refused),
        ({"fault": "status", "status": 403}, Misconfigured),
    ],
)
@pytest.mark.parametrize("match", [CREATE, RPC])
def test_every_failed_write_is_one_of_the_four_errors(
    twin: TrytonTwin,
    client: TrytonClient,
    request_: PostInvoice,
    fault: dict[str, Any],
    error: type[VendorError],
    match: str,
) -> None:
    twin.arm(match=match, **fault)
    with pytest.raises(VendorError) as failure:
        run("post_invoice", client, request_)
    assert type(failure.value) is error


@pytest.mark.parametrize("fault", ["drop_reply", "cut", "garbage"])
def test_a_read_that_fails_is_only_busy(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice, fault: str) -> None:
    twin.arm(fault, match="GET ")
    with pytest.raises(Busy):
        run("post_invoice", client, request_)


def test_the_vendors_own_wait_is_passed_on(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice) -> None:
    twin.arm("status", status=429, retry_after="7", match=CREATE)
    with pytest.raises(Busy) as busy:
        run("post_invoice", client, request_)
    assert (busy.value.retry_after, busy.value.throttled) == (7, True)


def test_a_server_that_is_not_there_is_busy(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice) -> None:
    twin.stop()
    with pytest.raises(Busy) as busy:
        run("post_invoice", client, request_)
    assert busy.value.code == "unreachable"


def test_an_answer_that_takes_too_long_is_unknown_and_found_later(
    twin: TrytonTwin, client: TrytonClient, request_: PostInvoice
) -> None:
    twin.arm("slow", seconds=0.3, match=RPC)
    with pytest.raises(Unknown):
        run("post_invoice", client, request_, timeout=0.1)
    assert run("post_invoice", client, request_).number
    assert len(posted(twin, "inv_1")) == 1


@pytest.mark.parametrize("match", [CREATE, RPC])
def test_a_lost_call_that_lands_late_adds_no_second_invoice(
    twin: TrytonTwin, client: TrytonClient, request_: PostInvoice, match: str
) -> None:
    twin.arm("late_commit", match=match)
    with pytest.raises(Unknown):
        run("post_invoice", client, request_)
    written = run("post_invoice", client, request_)
    twin.land()
    assert run("post_invoice", client, request_) == written
    assert [document["number"] for document in posted(twin, "inv_1")] == [written.number]
    assert len(client.search(Call(), "account.invoice", [["reference", "=", "inv_1"]], ["id"])) == 1


def test_what_is_lost_while_settling_is_completed(twin: TrytonTwin, client: TrytonClient, to_reverse: ReverseDocument) -> None:
    twin.arm("late_commit", match=SETTLE)
    with pytest.raises(Unknown):
        run("reverse_invoice", client, to_reverse)
    assert find(client, to_reverse) is None
    written = run("reverse_invoice", client, to_reverse)
    twin.land()
    assert run("reverse_invoice", client, to_reverse) == find(client, to_reverse) == written
    assert [document["state"] for document in twin.books()["documents"]][-2:] == ["paid", "paid"]


def test_a_settling_that_the_erp_refuses_is_a_persons_to_see_and_done_when_it_is_asked_again(
    twin: TrytonTwin, client: TrytonClient, to_reverse: ReverseDocument
) -> None:
    twin.arm("status", status=400, match=SETTLE)
    with pytest.raises(Refused):
        run("reverse_invoice", client, to_reverse)
    assert [document["state"] for document in posted(twin, "rev_1")] == ["posted"]
    run("reverse_invoice", client, to_reverse)
    assert [document["state"] for document in posted(twin, "rev_1")] == ["paid"]


def test_a_difference_that_the_erp_would_write_off_is_not_written_off(
    twin: TrytonTwin, client: TrytonClient, to_reverse: ReverseDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = {"view": {"state": "writeoff", "defaults": {"amount": Decimal("0.01")}}}
    monkeypatch.setattr(twin, "_reconcile", lambda step, params: ask if step == "execute" else [1, "start", "end"])
    with pytest.raises(Refused) as refusal:
        run("reverse_invoice", client, to_reverse)
    assert refusal.value.code == "not_settled"


def test_chaos_with_a_seed_loses_and_doubles_nothing(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice) -> None:
    twin.arm("drop_reply", probability=0.2, seed=7, match="POST")
    twin.arm("status", status=503, probability=0.2, seed=8)
    keys = [f"chaos_{number}" for number in range(30)]
    for key in keys:
        asked = request_.model_copy(update={"key": key})
        while True:
            try:
                run("post_invoice", client, asked)
                break
            except (Busy, Unknown):
                continue
    assert [document["key"] for document in twin.books()["documents"]] == ["warm-up", *keys]


def test_an_unexpected_warning_is_a_persons_to_judge(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice) -> None:
    strict = CONNECTOR.settings(base_url=twin.url, database="twin", accepted_warnings=())
    secrets = CONNECTOR.credentials(**{name: twin.entry[name] for name in ("rest_key", "login", "password")})
    old = request_.model_copy(update={"due_on": request_.document_on.replace(year=request_.document_on.year - 1)})
    with pytest.raises(Refused) as refusal:
        run("post_invoice", CONNECTOR.open(strict, secrets, Http()), old)
    assert refusal.value.code == "warning_invoice_payment_term"


def test_a_draft_that_people_changed_is_not_posted(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice) -> None:
    twin.arm("status", status=503, match=RPC)
    with pytest.raises(Busy):
        run("post_invoice", client, request_)
    (draft,) = client.search(Call(), "account.invoice", [["reference", "=", "inv_1"]], ["currency"])
    client.write(Call(), "account.invoice", draft["id"], {"currency": 2})
    with pytest.raises(Refused) as refusal:
        run("post_invoice", client, request_)
    assert refusal.value.code == "draft_differs"
    assert posted(twin, "inv_1") == []


def test_the_books_of_the_twin_list_what_became_money(twin: TrytonTwin, client: TrytonClient, request_: PostInvoice) -> None:
    written = run("post_invoice", client, request_)
    shared: dict[str, Any] = {"party": request_.party, "currency": "USD", "paid_on": request_.document_on}
    payment = RegisterPayment(key="pay_1", invoice=written.external_id, amount=Decimal(120), **shared)
    run("register_payment", client, payment)
    books = requests.get(f"{twin.url}/_twin/books", timeout=5).json()
    document = next(document for document in books["documents"] if document["key"] == "inv_1")
    assert (document["total"], document["currency"], document["state"]) == ("120.00", "USD", "paid")
    assert [(entry["key"], Decimal(entry["amount"])) for entry in books["payments"]] == [("pay_1", Decimal(120))]
    requests.post(f"{twin.url}/_twin/reset", timeout=5)
    assert twin.books() == {"documents": [], "payments": [], "journals": []}


def test_tax_of_a_document_is_spread_over_its_lines_to_the_cent(client: TrytonClient, request_: PostInvoice) -> None:
    (line,) = request_.lines
    lines = tuple(line.model_copy(update={"net": Decimal("0.05"), "tax": Decimal("0.01")}) for _ in range(3))
    asked = request_.model_copy(update={"lines": lines, "total": Decimal("0.18")})
    document = CONNECTOR.fetch["invoice"](client, run("post_invoice", client, asked).external_id, Call())[0]
    assert isinstance(document, Invoice)
    assert document.tax == sum(each.tax for each in document.lines) == Decimal("0.03")


def test_a_payment_that_a_reversal_sets_free_is_none_of_the_invoice_even_before_trytons_worker_came() -> None:
    reversed_ = json.loads((SAMPLES / "invoice_reversed.json").read_bytes(), object_hook=untag)
    document = mapping.document(reversed_ | {"state": "posted", "amount_to_pay": Decimal("-100.00")})
    assert isinstance(document, Invoice)
    assert (document.status, document.paid) == (InvoiceStatus.VOID, Decimal(0))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model":1,"id":2,"subject":"x","write_date":"never"}'])
def test_a_body_we_did_not_write_is_a_bad_payload(body: bytes) -> None:
    assert CONNECTOR.envelope is not None
    with pytest.raises(BadPayload):
        CONNECTOR.envelope(body)


def test_the_twin_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "connectors.vendors.tryton.fake"]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=dict(os.environ)) as process:
        assert process.stdout is not None
        entry = json.loads(process.stdout.readline())
        health = CONNECTOR.check(open_client(entry["base_url"]), Call())
        process.send_signal(signal.SIGINT)
    assert health.detail == "Tryton 8.0"
