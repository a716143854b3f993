"""The queue and the page of a credit: who sees what, in which order, at a constant price."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from canonical.models import SupportCase
from hub import roles
from hub.admin import desk_queue
from hub.credits import deciding, delegating
from hub.credits.models import Credit, CreditComment, SavedView
from tests.backoffice import desk_data as data
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.test_escaping import running
from tests.credits import company, factories

pytestmark = pytest.mark.django_db
DESK = "/admin/desk/"


@pytest.fixture
def ground(people: dict[str, User]) -> None:
    factories.ground()


def shown(client: Any, query: str = "") -> list[str]:
    """Numbers of the rows of the list, in order."""
    page = client.get(f"{DESK}?{query}")
    assert page.status_code == 200
    return [row["credit"].number for row in page.context["rows"]]


def statements(client: Any, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(url).status_code == 200
    return len(seen)


# what is shown ----------------------------------------------------------------------------------------------------------


def test_a_reviewer_lands_on_what_waits_for_them_and_others_on_all_that_is_pending(ground: None, login: Login) -> None:
    small, large = factories.credit("100"), factories.credit("15000")
    assert shown(login(roles.FINANCE)) == [small.number]
    assert set(shown(login(roles.SENIOR))) == {small.number, large.number}
    assert set(shown(login(roles.AUDITOR))) == {small.number, large.number}


def test_the_queue_is_in_the_order_of_priority(ground: None, login: Login) -> None:
    made = [
        factories.credit("100"), factories.credit("900"), factories.credit("100", at=factories.ago(days=3)),
    ]  # fmt: skip
    expected = sorted(made, key=lambda credit: (-credit.priority, credit.pk))
    assert shown(login(roles.FINANCE)) == [credit.number for credit in expected]


def test_pages_by_key_show_every_credit_once_in_order(ground: None, login: Login) -> None:
    made = data.many(desk_queue.PAGE * 2 + 3)
    client, seen, query = login(roles.FINANCE), list[str](), "tab=mine"
    while True:
        page = client.get(f"{DESK}?{query}")
        seen += [row["credit"].number for row in page.context["rows"]]
        if not page.context["next"]:
            break
        query = f"tab=mine&{page.context['next']}"
    assert seen == [credit.number for credit in sorted(made, key=lambda credit: (-credit.priority, credit.pk))]


def test_counts_and_money_on_top_agree_with_the_lists(ground: None, login: Login, people: dict[str, User]) -> None:
    factories.rate("EUR", "1.1")
    first, _ = factories.credit("100"), factories.credit("50", currency="EUR")
    factories.credit("2000", made_by=people[roles.FINANCE])
    deciding.approve(first, people[roles.FINANCE], revision=1, confirmed_at=None)
    tabs = {tab.name: tab for tab, _, _ in login(roles.FINANCE).get(DESK).context["tabs"]}
    assert {name: tab.count for name, tab in tabs.items()} == {
        "mine": 1, "pending": 2, "held": 1, "info": 0, "posting": 0, "decided": 0,
    }  # fmt: skip
    assert dict(tabs["pending"].money) == {"EUR": Decimal(50), "USD": Decimal(2000)}
    assert dict(tabs["held"].money) == {"USD": Decimal(100)}


def test_a_promise_that_runs_on_is_not_called_kept_and_less_than_a_minute_is_told_in_seconds(ground: None, login: Login) -> None:
    credit = data.computed(timedelta(seconds=20))
    resolution = next(said for said in credit.calculation["assessment"]["promises"] if said["what"] == "resolution")
    running = {**resolution, "what": "first_response", "actual": None, "missed_by": "0", "stopped": None}
    told = {**credit.calculation, "assessment": {**credit.calculation["assessment"], "promises": [resolution, running]}}
    Credit.objects.filter(pk=credit.pk).update(calculation=told)
    page = login(roles.FINANCE).get(data.url(credit)).content.decode()
    assert "missed by 20 s" in page and "too late 20 s" in page
    assert "First response: not over yet" in page and "First response: kept" not in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("currency=eur", {"150"}), ("reason=billing_error", {"300"}), ("least=200", {"300", "400"}), ("most=120", {"100"}),
        ("older=7", {"400"}), ("customer=glo", {"300"}), ("flag=capped", {"100"}), ("least=nonsense", {"100", "150", "300", "400"}),
    ],
)  # fmt: skip
def test_a_filter_leaves_what_it_names(query: str, expected: set[str], ground: None, login: Login) -> None:
    factories.rate("EUR", "1")
    factories.credit("100", flags=[{"flag": "capped", "text": "cut"}])
    factories.credit("150", currency="EUR")
    factories.credit("300", reason="billing_error", party=factories.party("Globex"))
    factories.credit("400", at=factories.ago(days=10))
    page = login(roles.FINANCE).get(f"{DESK}?tab=pending&{query}")
    assert {f"{row['credit'].net.normalize():f}" for row in page.context["rows"]} == expected


def test_search_finds_a_credit_in_any_state_and_opens_it(ground: None, login: Login, people: dict[str, User]) -> None:
    credit = factories.credit("100", party=factories.party("Globex"))
    factories.credit("200")
    deciding.reject(credit, people[roles.FINANCE], revision=1, reason_code="other", note="not this time")
    client = login(roles.FINANCE)
    for term in (credit.number, credit.number.lower(), str(credit.pk), "globex"):
        assert client.get(DESK, {"q": term}).headers["Location"] == data.url(credit), term
    assert client.get(reverse("admin:find"), {"q": credit.number}).headers["Location"] == data.url(credit)


def test_what_i_made_stepped_back_from_or_decided_does_not_wait_for_me(ground: None, login: Login, people: dict[str, User]) -> None:
    me = people[roles.SENIOR]
    factories.credit("100", made_by=me)
    factories.credit("110", requested_by=me.username)
    recused, decided, left = factories.credit("120"), factories.credit("5000"), factories.credit("130")
    deciding.recuse(recused, me, note="my brother works there")
    deciding.approve(decided, people[roles.FINANCE], revision=1, confirmed_at=None)
    assert set(shown(login(roles.SENIOR))) == {left.number, decided.number}
    deciding.approve(data.fresh(decided), me, revision=1, confirmed_at=None)
    assert shown(login(roles.SENIOR)) == [left.number]
    assert shown(login(roles.FINANCE), "tab=held") == [decided.number]


def test_what_was_delegated_to_me_waits_for_me(ground: None, login: Login, people: dict[str, User]) -> None:
    credit, now = factories.credit("15000"), timezone.now()
    assert shown(login(roles.FINANCE)) == []
    delegating.grant(
        people[roles.SENIOR], people[roles.FINANCE], starts_at=now, ends_at=now + timedelta(days=1), reason="on holiday",
        by=people[roles.SENIOR],
    )  # fmt: skip
    assert shown(login(roles.FINANCE)) == [credit.number]


# one credit -------------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_evidence_in_the_order_of_reading(people: dict[str, User], login: Login) -> None:
    firm = company.found()
    firm.invoice()
    credit = data.computed(firm=firm)
    page = login(roles.FINANCE).get(data.url(credit)).content.decode().partition('class="tie desk"')[2]
    order = [
        "25.0 % of the monthly value of 1,000.00 EUR", "First response", "<svg", "missed by 30 h 00 min", "R-9", "The case",
        "Earlier credits", "What the customer owes", "IN-1", "What will be posted where", "VAT", "What happened", "Audit trail",
    ]  # fmt: skip
    places = [page.find(text) for text in order]
    assert -1 not in places and places == sorted(places), dict(zip(order, places, strict=True))
    assert "1 × finance reviewer" in page and credit.digest[:16] in page


def test_the_difference_to_what_the_policy_computes_is_in_red(ground: None, login: Login) -> None:
    credit = factories.credit("150", requested=Decimal(200), computed=Decimal(100))
    page = login(roles.FINANCE).get(data.url(credit))
    assert page.context["difference"] == "50.00 USD more than the policy computes"
    assert '<span class="tie-error">It is 50.00 USD more than the policy computes.</span>' in page.content.decode()


def test_states_are_said_in_words(ground: None, login: Login, people: dict[str, User]) -> None:
    credit = factories.credit("100")
    words = lambda role: login(role).get(data.url(credit)).context["standing"].words  # noqa: E731
    assert (words(roles.FINANCE), words(roles.AUDITOR)) == ("waiting for me", "waiting for finance reviewer")
    deciding.ask(credit, people[roles.FINANCE], text="which order was lost?")
    assert words(roles.FINANCE) == "needs info from agent@support"
    deciding.answer(credit, by="agent", text="all of Monday")
    held = deciding.approve(credit, people[roles.FINANCE], revision=1, confirmed_at=None).held_until
    assert held is not None
    assert words(roles.FINANCE) == f"approved, held until {desk_clock(held)}"


def desk_clock(moment: Any) -> str:
    from hub.admin.desk_words import clock

    return clock(moment, timezone.now())


def test_who_may_not_approve_sees_a_grey_button_and_why(ground: None, login: Login, people: dict[str, User]) -> None:
    credit = factories.credit("100", made_by=people[roles.FINANCE])
    page = login(roles.FINANCE).get(data.url(credit))
    assert "another person must decide" in page.context["why_not"]
    assert 'disabled aria-describedby="why-not"' in page.content.decode()
    assert "You recused yourself" not in page.content.decode()


@pytest.mark.parametrize("role", [roles.AGENT, roles.AUDITOR, roles.OPERATOR, roles.POLICY])
def test_who_decides_nothing_sees_no_button_to_decide(role: str, ground: None, login: Login) -> None:
    credit = factories.credit("100")
    page = login(role).get(data.url(credit)).content.decode()
    for name in ("approve", "reject", "send_back", "ask", "recuse"):
        assert data.url(credit, name) not in page


# at a constant price ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["tab=mine", "tab=pending", "tab=held", "tab=posting", "tab=decided", "q=Customer"])
def test_the_list_takes_as_many_statements_for_many_credits_as_for_few(
    query: str, ground: None, login: Login, people: dict[str, User]
) -> None:
    def fill(count: int) -> None:
        data.many(count)
        held = data.many(2, "300")
        for credit in held:
            deciding.approve(credit, people[roles.FINANCE], revision=1, confirmed_at=None)
        deciding.reject(data.many(1)[0], people[roles.FINANCE], revision=1, reason_code="other", note="not this time")
        Credit.objects.filter(pk=held[0].pk).update(state="posting")

    fill(2)
    client, url = login(roles.FINANCE), f"{DESK}?{query}"
    few = statements(client, url)
    fill(40)
    assert statements(client, url) == few


def test_the_page_takes_as_many_statements_with_a_long_history_as_with_a_short_one(ground: None, login: Login) -> None:
    first, client = factories.credit("100"), login(roles.FINANCE)
    factories.credit("10", party=factories.party("Globex"))
    factories.credit("100", at=factories.ago(days=2))
    few = statements(client, data.url(first))
    for n in range(60):
        factories.credit(str(100 + n), at=factories.ago(days=n))
        CreditComment.objects.create(credit=first, by="somebody", text=f"remark {n}")
    assert statements(client, data.url(first)) == few


# text of others ---------------------------------------------------------------------------------------------------------


def test_text_of_a_ticket_is_shown_and_never_run(people: dict[str, User], login: Login) -> None:
    firm = company.found()
    firm.invoice()
    firm.acme.name = make.EVIL
    firm.acme.save()
    credit = data.computed(firm=firm, description=make.EVIL, incident=make.EVIL[:90], url="javascript:alert(1)")
    SupportCase.objects.update(subject=make.EVIL)
    Credit.objects.filter(pk=credit.pk).update(
        note=make.EVIL, evidence=make.EVIL, flags=[{"flag": make.EVIL, "text": make.EVIL}],
        calculation={**credit.calculation, "posting": [make.EVIL]},
    )  # fmt: skip
    deciding.comment(credit, people[roles.SENIOR], text=make.EVIL)
    factories.ground()
    asked = factories.credit("100", requested_by=make.EVIL)
    SavedView.objects.create(owner=people[roles.FINANCE], name=make.EVIL[:60], query="tab=pending")
    client = login(roles.FINANCE)
    for url in (
        f"{DESK}?tab=pending",
        data.url(credit),
        data.url(asked),
        f"{DESK}approve/?pick={credit.pk}:1",
        f"{DESK}?q=%22%3E%3Cscript%3Ealert(1)",
    ):
        page = client.get(url).content.decode()
        assert "<script>alert" not in page, url
        assert running(page) == [], url
    page = client.get(data.url(credit)).content.decode()
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "javascript:alert" not in page


# saved views and files --------------------------------------------------------------------------------------------------


def test_a_view_is_kept_for_oneself_or_shared_and_forgotten_by_its_owner(ground: None, login: Login) -> None:
    mine, other = login(roles.FINANCE), login(roles.SENIOR)
    for name, more in (("big", {}), ("ours", {"is_shared": "on"})):
        mine.post(f"{DESK}views/", {"name": name, "queue": "tab=pending&least=1000&after=7&nonsense=1", **more})
    assert {view.name for view in mine.get(DESK).context["views"]} == {"big", "ours"}
    assert {view.name for view in other.get(DESK).context["views"]} == {"ours"}
    shared = SavedView.objects.get(name="ours")
    assert shared.query == "tab=pending&least=1000"
    other.post(reverse("admin:desk_view_forget", args=[shared.pk]))
    assert SavedView.objects.filter(pk=shared.pk).exists()
    mine.post(reverse("admin:desk_view_forget", args=[shared.pk]))
    assert not SavedView.objects.filter(pk=shared.pk).exists()


def test_the_file_has_control_totals_and_no_formula(ground: None, login: Login) -> None:
    factories.rate("EUR", "1.1")
    factories.credit("100", tax="19", party=factories.party("=HYPERLINK(1)"))
    factories.credit("50.5", currency="EUR", requested_by="@agent")
    answer = login(roles.FINANCE).get(f"{DESK}export/?tab=pending")
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    body, foot = rows[1:3], rows[3:]
    assert {row[2] for row in body} == {"'=HYPERLINK(1)", "Acme GmbH"}
    assert {row[10] for row in body} == {"agent@support", "'@agent"}
    assert foot[:2] == [["Control totals"], ["rows", "2"]]
    assert [row[5:9] for row in foot if row[0] == "sum"] == [
        ["50.5000", "0.0000", "50.5000", "EUR"], ["100.0000", "19.0000", "119.0000", "USD"],
    ]  # fmt: skip
    assert foot[-2][0] == "as of" and foot[-2][1].endswith("UTC")
    book = login(roles.FINANCE).get(f"{DESK}export/?tab=pending&format=xlsx")
    with zipfile.ZipFile(io.BytesIO(book.content)) as parts:
        credits, totals = (parts.read(f"xl/worksheets/sheet{n}.xml").decode() for n in (1, 2))
        assert 'name="control totals"' in parts.read("xl/workbook.xml").decode()
    assert "<f>" not in credits and ">=HYPERLINK(1)<" in credits and "<v>119.0000</v>" in credits
    assert all(f"<v>{value}</v>" in totals for value in ("2", "50.5000", "100.0000", "119.0000")) and " UTC<" in totals
