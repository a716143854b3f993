"""The pages of reconciliation: who sees and does what, at a constant price, with everything escaped that others wrote."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from connectors.models import Connection
from hub import roles
from hub.audit.models import AuditEntry
from reconciliation.models import Break, Mend, PeriodClose, Scan
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login, billing, erp, login, people, vendors  # noqa: F401  (fixtures)
from tests.backoffice.support import page_url
from tests.backoffice.test_escaping import running
from tests.reconciliation import pages as data

pytestmark = pytest.mark.django_db
BREAKS, SCANS = "/admin/reconciliation/break/", "/admin/reconciliation/scan/"
CLOSES, DASHBOARD = "/admin/reconciliation/close/", "/admin/reconciliation/dashboard/"


def press(client: Client, obj: Any, name: str, **said: Any) -> Any:
    """Press a button of an object's page; returns the page one lands on."""
    url = reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_{name}", args=[obj.pk])
    return client.post(url, said, follow=True)


def at_close(client: Client, name: str, **said: Any) -> Any:
    return client.post(f"{data.CLOSE}do/{name}/", said, follow=True)


def statements(client: Client, url: str) -> int:
    caches["process"].clear()
    with CaptureQueriesContext(database) as seen:
        assert client.get(url).status_code == 200
    return len(seen)


def prepared(login: Login) -> PeriodClose:  # noqa: F811
    """A month prepared by a finance reviewer, with a reason for every gate that is red."""
    client = login(roles.FINANCE)
    gates = client.get(data.CLOSE).context["gates"]
    at_close(client, "prepare", **{f"reason-{gate['name']}": "known and agreed" for gate in gates if not gate["is_green"]})
    close: PeriodClose = PeriodClose.objects.get()
    assert close.state == "prepared"
    return close


# who --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", roles.ROLES)
def test_every_role_sees_every_page(role: str, login: Login, billing: Connection, erp: Connection) -> None:  # noqa: F811
    scan = data.scan()
    data.certificate(scan, billing)
    made = data.broken(scan)
    client = login(role)
    paths = [
        BREAKS,
        SCANS,
        CLOSES,
        DASHBOARD,
        page_url(scan),
        page_url(made),
        data.CLOSE,
        f"{data.CLOSE}print/",
        f"{data.CLOSE}pack/",
    ]
    assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
    home = client.get("/admin/").content.decode()
    assert "Breaks between the systems" in home and "Another amount" in home


def test_nobody_from_outside_sees_a_page(client: Client) -> None:
    for path in (BREAKS, SCANS, CLOSES, DASHBOARD, data.CLOSE, f"{data.CLOSE}pack/"):
        assert client.get(path).status_code == 302


BUTTONS = {"take": roles.OPERATOR, "comment": roles.OPERATOR, "explain": roles.OPERATOR, "propose": roles.OPERATOR,
           "refuse": roles.OPERATOR, "approve": roles.SENIOR}  # fmt: skip


@pytest.mark.parametrize("role", [roles.AUDITOR, roles.AGENT, roles.POLICY, roles.ENGINEER])
def test_who_does_not_work_breaks_has_no_button_and_cannot_press_one(role: str, login: Login) -> None:  # noqa: F811
    made, client = data.broken(data.scan()), login(role)
    page = client.get(page_url(made)).content.decode()
    for name in BUTTONS:
        assert f"/do/{name}/" not in page
        assert press(client, made, name, text="x").status_code == 403
    assert not Break.objects.exclude(owner=None).exists() and not AuditEntry.objects.filter(object_kind="break").exists()


def test_only_a_controller_signs_and_only_the_ladder_prepares(login: Login) -> None:  # noqa: F811
    make.entity()
    for role in roles.ROLES:
        expected = 200 if role in roles.MATRIX["reconciliation.sign_periodclose"] else 403
        assert at_close(login(role), "send-back").status_code in ((404,) if expected == 200 else (403,)), role
        if role not in roles.MATRIX["reconciliation.prepare_periodclose"]:
            assert at_close(login(role), "prepare").status_code == 403
    assert not PeriodClose.objects.exists()


def test_the_buttons_of_a_close_take_no_get(login: Login) -> None:  # noqa: F811
    make.entity()
    assert login(roles.CONTROLLER).get(f"{data.CLOSE}do/prepare/").status_code == 405
    assert login(roles.CONTROLLER).get(f"{SCANS}begin/").status_code == 405


# the list ---------------------------------------------------------------------------------------------------------------


def test_breaks_are_listed_by_money_exposed_without_the_closed_ones(login: Login) -> None:  # noqa: F811
    scan = data.scan()
    small, large = data.broken(scan, "small", "5"), data.broken(scan, "large", "500")
    gone = data.broken(scan, "gone", "900", state="closed", closed_at=scan.as_of, closed_how="no longer found")
    client = login(roles.FINANCE)

    def listed(query: str = "") -> list[Break]:
        return list(client.get(f"{BREAKS}?{query}").context["cl"].result_list)

    assert listed() == [large, small]
    assert listed("state=every") == [gone, large, small]
    assert listed("state=closed") == [gone]
    assert listed("o=4") == [small, large]


def test_breaks_are_filtered_by_type_pair_entity_age_and_owner(login: Login, people: dict[str, User]) -> None:  # noqa: F811
    scan = data.scan()
    old = data.broken(scan, "old", days=10, owner=people[roles.FINANCE])
    tax = data.broken(scan, "tax", type="tax", pair="payments")
    other = data.broken(data.scan(make.entity("fr")), "other", type="party")
    client = login(roles.FINANCE)
    wanted = {"older=7": [old], "type=tax": [tax], "pair=payments": [tax], f"legal_entity={other.legal_entity_id}": [other],
              "owner=me": [old], "owner=nobody": [other, tax], "legal_entity=x": [], "older=99999999999": []}  # fmt: skip
    for query, expected in wanted.items():
        found = client.get(f"{BREAKS}?{query}").context["cl"].result_list
        assert sorted(found, key=lambda one: -one.pk) == sorted(expected, key=lambda one: -one.pk), query


@pytest.mark.parametrize("path", [BREAKS, SCANS, "/admin/", CLOSES, DASHBOARD])
def test_a_page_costs_the_same_however_much_there_is(path: str, login: Login, people: dict[str, User]) -> None:  # noqa: F811
    client = login(roles.FINANCE)

    def more(code: str) -> None:
        entity = make.entity(code)
        scan = data.scan(entity)
        for number in range(5):
            data.broken(scan, f"{code} {number}", owner=people[roles.FINANCE])
        PeriodClose.objects.create(legal_entity=entity, period=data.MONTH)

    more("aa")
    statements(client, path)
    before = statements(client, path)
    for code in ("bb", "cc", "dd"):
        more(code)
    assert statements(client, path) == before


# one break --------------------------------------------------------------------------------------------------------------


def test_a_break_shows_both_readings_and_marks_what_differs(login: Login) -> None:  # noqa: F811
    page = login(roles.FINANCE).get(page_url(data.broken(data.scan())))
    lines = {line.label: (line.values, line.differs) for line in page.context["comparison"].lines}
    assert lines["Total"] == (("120.00", "100.00"), True)
    assert lines["Net"] == (("100.00", "100.00"), False)
    assert lines["Id there"] == (("in_7", "17"), False)
    assert page.context["difference"] == "20.00 EUR less in the second system"


def test_what_is_missing_in_a_system_is_said(login: Login) -> None:  # noqa: F811
    made = data.broken(data.scan(), type="missing_right", right={}, right_amount=None)
    assert "second system: nothing" in login(roles.FINANCE).get(page_url(made)).content.decode()


def test_a_break_is_taken_explained_and_noted(login: Login, people: dict[str, User]) -> None:  # noqa: F811
    made, client = data.broken(data.scan(), cause="", evidence=[]), login(roles.FINANCE)
    press(client, made, "take")
    press(client, made, "comment", text="asked the bookkeeper")
    press(client, made, "explain", cause="typed by hand", note="the bookkeeper says so")
    now = data.fresh(made)
    assert (now.owner, now.state, now.cause) == (people[roles.FINANCE], "explained", "typed by hand")
    assert [note.text for note in now.notes.all()] == ["asked the bookkeeper", "typed by hand: the bookkeeper says so"]
    assert list(AuditEntry.objects.filter(object_kind="break").order_by("seq").values_list("action", flat=True)) == [
        "break.taken", "break.explained",
    ]  # fmt: skip


@pytest.mark.parametrize(("button", "said"), [("take", {}), ("explain", {"cause": "a", "note": "b"})])
def test_a_closed_break_stays_as_it_is(button: str, said: dict[str, str], login: Login) -> None:  # noqa: F811
    scan = data.scan()
    made = data.broken(scan, state="closed", closed_at=scan.as_of, closed_how="accepted")
    assert "It is closed: accepted." in press(login(roles.FINANCE), made, button, **said).content.decode()
    assert data.fresh(made).owner is None


def test_accepting_a_break_takes_a_reason_and_a_second_person(login: Login) -> None:  # noqa: F811
    made, finance, senior = data.broken(data.scan()), login(roles.FINANCE), login(roles.SENIOR)
    press(finance, made, "propose", plan="accept", reason=" ")
    assert not Mend.objects.exists()
    press(senior, made, "propose", plan="accept", reason="below what it would cost to mend")
    mend = Mend.objects.get()
    refused = press(senior, made, "approve", mend=mend.pk)
    assert "another person has to approve it" in refused.content.decode() and data.fresh(made).state == "open"
    assert press(finance, made, "approve", mend=mend.pk).status_code == 403
    press(login(roles.CONTROLLER), made, "approve", mend=mend.pk)
    now = data.fresh(made)
    assert (now.state, now.closed_how, data.fresh(mend).state) == ("closed", "accepted", "done")


def test_a_plan_that_was_not_read_is_not_approved(login: Login) -> None:  # noqa: F811
    scan = data.scan()
    made, other = data.broken(scan), data.broken(scan, "another")
    finance, controller = login(roles.FINANCE), login(roles.CONTROLLER)
    for each in (made, other):
        press(finance, each, "propose", plan="accept", reason="agreed")
    foreign = other.mends.get()
    assert "did not say which plan" in press(controller, made, "approve", mend=foreign.pk).content.decode()
    assert {data.fresh(made).state, data.fresh(other).state} == {"open"}


def test_a_plan_is_refused_with_a_reason(login: Login) -> None:  # noqa: F811
    made = data.broken(data.scan())
    press(login(roles.FINANCE), made, "propose", plan="accept", reason="agreed")
    mend, controller = made.mends.get(), login(roles.CONTROLLER)
    press(controller, made, "refuse", mend=mend.pk, reason="")
    assert data.fresh(mend).state == "proposed"
    press(controller, made, "refuse", mend=mend.pk, reason="post it instead")
    assert (data.fresh(mend).state, data.fresh(made).state) == ("refused", "open")


def test_what_others_wrote_is_shown_and_never_runs(login: Login, billing: Connection) -> None:  # noqa: F811
    evil = make.EVIL
    entity = make.entity()
    scan = data.scan(started_by=evil[:150], failure=evil, progress={evil: {"read": 1, "done": True}}, counts={
        evil: {evil: {evil: {evil: {"EUR": {"count": 1, "amount": evil}}}}}, "breaks": {}})  # fmt: skip
    data.certificate(scan, billing, read=1)
    held = {"system": evil, "kind": evil, "id": evil, "total": evil, "extra thing": evil}
    made = data.broken(scan, evil, left=held, right={"items": [held, {evil: [evil]}]}, cause=evil[:40], evidence=[
        {"text": evil, "kind": "run", "id": 1}, {"text": evil, "kind": evil, "id": evil}, evil])  # fmt: skip
    client = login(roles.FINANCE)
    press(client, made, "comment", text=evil)
    press(client, made, "propose", plan="accept", reason=evil)
    data.reading(scan, billing, 1, status=evil[:40], kind=evil[:20])
    for path in (BREAKS, SCANS, page_url(made), page_url(scan), data.CLOSE, f"{data.CLOSE}print/", DASHBOARD, "/admin/"):
        page = client.get(path).content.decode()
        assert running(page) == [], path
    shown = client.get(page_url(made)).content.decode()
    assert escape(evil) in shown and evil not in shown
    assert entity.code == "de"


# scans ------------------------------------------------------------------------------------------------------------------


def test_a_scan_shows_progress_certificates_and_what_became_of_the_readings(login: Login, billing: Connection) -> None:  # noqa: F811
    scan = data.scan()
    data.certificate(scan, billing, read=40)
    page = login(roles.AUDITOR).get(page_url(scan))
    assert page.context["red"] == ["billing/invoice"]
    (row,) = page.context["certificates"][0]["rows"]
    assert (row["there"], row["here"], row["there_amount"], row["here_amount"], row["agrees"]) == (
        41, 40, "4,920.00 EUR", "4,800.00 EUR", False,
    )  # fmt: skip
    assert [(one["fate"], one["rule"], one["count"], one["money"]) for one in page.context["rows"]] == [
        ("matched", "reference", 40, "4,800.00 EUR"),
        ("break", "amount", 1, "120.00 EUR"),
        ("matched", "reference", 40, "4,800.00 EUR"),
    ]


def test_a_scan_is_started_once_and_ended_by_a_person(login: Login, books: dict[str, Any]) -> None:  # noqa: F811
    client = login(roles.OPERATOR)
    assert client.post(f"{SCANS}begin/", {"entity": "acme", "depth": "full"}).status_code == 302
    scan = Scan.objects.get()
    assert (scan.state, scan.since, scan.started_by) == ("reading", None, "operator")
    again = client.post(f"{SCANS}begin/", {"entity": "acme", "depth": "incremental"}, follow=True)
    assert "going on already" in again.content.decode() and Scan.objects.count() == 1
    press(client, scan, "end", reason="")
    assert data.fresh(scan).state == "reading"
    press(client, scan, "end", reason="the ERP is being moved")
    ended = data.fresh(scan)
    assert (ended.state, ended.failure) == ("failed", "the ERP is being moved")
    assert "It has ended already." in press(client, scan, "end", reason="again").content.decode()


def test_a_scan_of_nothing_is_not_begun(login: Login) -> None:  # noqa: F811
    make.entity()
    client = login(roles.FINANCE)
    for said in ({"entity": "de", "depth": "full"}, {"entity": "nowhere", "depth": "full"}, {"entity": "de", "depth": "some"}):
        assert client.post(f"{SCANS}begin/", said, follow=True).status_code == 200
    assert not Scan.objects.exists()
    assert login(roles.AUDITOR).post(f"{SCANS}begin/", {"entity": "de", "depth": "full"}).status_code == 403


# the close --------------------------------------------------------------------------------------------------------------


def test_who_prepared_a_close_does_not_sign_it(login: Login) -> None:  # noqa: F811
    data.broken(data.scan())
    controller = login(roles.CONTROLLER)
    gates = controller.get(data.CLOSE).context["gates"]
    at_close(controller, "prepare", **{f"reason-{gate['name']}": "agreed" for gate in gates if not gate["is_green"]})
    close = PeriodClose.objects.get()
    page = at_close(controller, "sign", hash=close.hash)
    assert "another person has to sign it" in page.content.decode()
    assert "/do/sign/" not in page.content.decode()
    assert data.fresh(close).state == "prepared"


def test_a_red_gate_needs_a_reason(login: Login) -> None:  # noqa: F811
    data.broken(data.scan())
    page = at_close(login(roles.FINANCE), "prepare")
    assert "nobody said why that may be" in page.content.decode()
    assert PeriodClose.objects.get().state == "open"


def test_a_second_person_signs_and_a_later_change_shows(login: Login, billing: Connection) -> None:  # noqa: F811
    scan = data.scan()
    data.reading(scan, billing, 1)
    close, controller = prepared(login), login(roles.CONTROLLER)
    at_close(controller, "sign", hash=close.hash)
    signed = data.fresh(close)
    assert (signed.state, signed.signed_by.username) == ("signed", "controller")
    assert controller.get(data.CLOSE).context["changes"] == []
    data.broken(scan)
    changed = controller.get(data.CLOSE)
    assert len(changed.context["changes"]) == 1 and "It is not what was signed any more" in changed.content.decode()
    assert data.fresh(close).hash == signed.hash


def test_what_was_prepared_again_after_one_looked_is_not_signed(login: Login) -> None:  # noqa: F811
    data.scan()
    close = prepared(login)
    page = at_close(login(roles.CONTROLLER), "sign", hash="0" * 64)
    assert "prepared again after you opened it" in page.content.decode() and data.fresh(close).state == "prepared"


def test_reopening_takes_two_people(login: Login) -> None:  # noqa: F811
    data.scan()
    close, controller = prepared(login), login(roles.CONTROLLER)
    at_close(controller, "sign", hash=close.hash)
    at_close(controller, "ask-reopening", reason="a late invoice")
    assert "another person has to agree" in at_close(controller, "reopen").content.decode()
    assert data.fresh(close).state == "signed"
    at_close(login(roles.FINANCE), "ask-reopening", reason="a late invoice")
    at_close(controller, "reopen")
    assert data.fresh(close).state == "reopened"


def test_a_close_is_sent_back_with_a_reason(login: Login) -> None:  # noqa: F811
    data.scan()
    close = prepared(login)
    at_close(login(roles.CONTROLLER), "send-back", reason="")
    assert data.fresh(close).state == "prepared"
    at_close(login(roles.CONTROLLER), "send-back", reason="one certificate is red")
    assert data.fresh(close).state == "open"


def test_the_pack_holds_what_was_signed(login: Login) -> None:  # noqa: F811
    data.scan()
    close = prepared(login)
    got = login(roles.AUDITOR).get(f"{data.CLOSE}pack/")
    with zipfile.ZipFile(io.BytesIO(b"".join(got.streaming_content))) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
        about = archive.read("close-de-2026-10/about.json").decode()
    assert {"close.json", "close.xlsx", "gates.csv"} <= names and close.hash in about


@pytest.mark.parametrize("where", ["de/2026-13/", "de/yesterday/", "nowhere/2026-10/"])
def test_a_month_that_is_none_is_not_found(where: str, login: Login) -> None:  # noqa: F811
    make.entity()
    assert login(roles.AUDITOR).get(f"{CLOSES}{where}").status_code == 404


# the dashboard ----------------------------------------------------------------------------------------------------------


def test_the_dashboard_draws_every_figure_and_shows_the_query_it_comes_from(login: Login) -> None:  # noqa: F811
    scan = data.scan()
    data.broken(scan)
    data.broken(scan, "in dollars", "7", currency="USD")
    page = login(roles.AUDITOR).get(DASHBOARD)
    shown = {one.figure.name: one for one in [*page.context["numbers"], *page.context["charts"]]}
    text = page.content.decode()
    assert shown["agreement_by_count"].lines.lines[0].name == "Invoices"
    (bar,) = shown["breaks_by_type"].bars.bars
    assert (bar.name, bar.value) == ("another amount", "2 · 20.00 EUR · 7.00 USD")
    assert shown["auto_match_rate"].number == "98.77 %"
    assert all(escape(one.figure.sql) in text for one in shown.values())
    assert text.count("How it is computed") == len(shown) >= 8


def test_the_dashboard_is_of_one_entity_and_span(login: Login) -> None:  # noqa: F811
    data.broken(data.scan())
    data.scan(make.entity("fr"))
    client = login(roles.AUDITOR)
    assert [client.get(f"{DASHBOARD}?entity={code}").context["entity"].code for code in ("fr", "de", "nowhere")] == [
        "fr",
        "de",
        "fr",
    ], "that of the last scan, where none is named"
    assert [client.get(f"{DASHBOARD}?days={days}").context["days"] for days in ("30", "31", "x")] == [30, 90, 90]
    of_france = {one.figure.name: one for one in client.get(f"{DASHBOARD}?entity=fr").context["charts"]}
    assert of_france["breaks_by_type"].rows == []
