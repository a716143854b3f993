"""One credit with its evidence, in the order a reviewer reads it. A fixed number of statements; templates escape all of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, Q
from django.utils.dateparse import parse_datetime

from canonical.models import CaseClock, ExternalRef, Invoice, Transition
from canonical.money import quantum
from hub.admin.desk_chart import Chart, draw, length
from hub.admin.desk_words import Elsewhere, elsewhere, standing, sums
from hub.admin_ui import link, money
from hub.audit.models import AuditEntry
from hub.credits import duplicates
from hub.credits.models import Approval, Credit, CreditPolicy, CreditRule
from hub.models import Run

RELATED = (
    "case", "party", "legal_entity", "billing", "support", "subscription", "invoice", "policy", "approval_rule__legal_entity",
    "made_by", "edited_by", "reverses", "split_from", "duplicate_of",
)  # fmt: skip
MOST = 50
CLOCK_WORDS = {
    "opened": "opened", "first_reply": "first reply", "paused": "waits for the customer", "resumed": "with us again",
    "resolved": "resolved", "reopened": "reopened", "severity": "severity", "down": "down", "up": "up again",
}  # fmt: skip
PROMISES = {"first_response": "First response", "resolution": "Resolution", "uptime": "Availability"}


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise of the service terms: what was due, what happened ('' so far: it runs on), and its picture."""

    title: str
    target: str
    actual: str
    missed: str
    chart: Chart | None
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the chain: whose turn, how many, who has approved, and whether it is `done`, `now` or `ahead`."""

    role: str
    count: int
    given: Sequence[Approval]
    look: str


def evidence(credit: Credit, *, mine: bool, at: datetime) -> dict[str, Any]:
    """What the page of a credit shows, apart from the buttons."""
    known = elsewhere([credit]).get(credit.pk, Elsewhere())
    approvals = list(credit.approvals.select_related("by", "on_behalf_of").order_by("id"))
    decision, events = _part(credit.calculation, "decision"), clock(credit)
    return {
        "standing": standing(credit, mine=mine, at=at, known=known),
        "share": share(credit),
        "case_ref": case_ref(credit),
        "clock": events,
        "platform_sla": platform_sla(credit),
        "assessment": _part(credit.calculation, "assessment"),
        "promises": promises(credit, events, at),
        "decision": decision,
        "lines": calculation_lines(decision, credit),
        "difference": difference(credit),
        **amounts(credit),
        **customer(credit, at),
        "near": duplicates.near(credit),
        "posting": posting(credit),
        "booked_why": credit.calculation.get("posting", []) if isinstance(credit.calculation, dict) else [],
        "books_on": at.astimezone(ZoneInfo(credit.legal_entity.timezone)).date(),
        "stages": stages(credit, approvals),
        "void": [given for given in approvals if given.revision != credit.revision],
        "refusal": next((given for given in approvals if given.revision == credit.revision and given.decision != "approve"), None),
        "comments": list(credit.comments.select_related("user")),
        "steps": what_next(credit, at),
        "refs": list(ExternalRef.objects.filter(object_kind="credit", object_id=credit.pk).select_related("connection")),
        "moves": list(Transition.objects.filter(object_kind="credit", object_id=credit.pk).order_by("id")[:MOST]),
        "reversed_by": credit.reversal,
        "case_url": web(credit.case.url) if credit.case else "",
        "run": Run.objects.filter(subject_kind="credit", subject_id=credit.number).order_by("-id").first(),
        "audit": audit(credit),
        "parts": list(Credit.objects.filter(split_from=credit.pk).order_by("id")[:MOST]),
    }


def amounts(credit: Credit) -> dict[str, Any]:
    """The amounts of a credit as people read them."""
    shown = {name: money(getattr(credit, name), credit.currency) for name in ("net", "tax", "total", "requested", "computed")}
    return {
        **shown, "in_reporting": money(credit.reporting_amount, settings.REPORTING_CURRENCY), "party_link": link(credit.party),
        "net_plain": f"{credit.net.quantize(quantum(credit.currency)):f}",
    }  # fmt: skip


def web(url: str) -> str:
    """An address that may be opened: http and https only."""
    return url if url.startswith(("https://", "http://")) else ""


def share(credit: Credit) -> str:
    """The net amount as a share of the subscription's monthly value, as it was when it was computed; '' when unknown."""
    facts = _part(credit.calculation, "facts")
    is_billed = credit.policy is not None and credit.policy.monthly_value == CreditPolicy.MonthlyValue.BILLED
    said = (facts.get("billed") if is_billed else None) or facts.get("monthly")
    worth, currency = said[:2] if isinstance(said, list) and len(said) >= 2 else (None, "")
    monthly = number(worth)
    if not monthly or currency != credit.currency:
        return ""
    return f"{credit.net * 100 / monthly:.1f} % of the monthly value of {money(monthly, currency)}"


def case_ref(credit: Credit) -> ExternalRef | None:
    """What the support platform calls the case."""
    if credit.case_id is None:
        return None
    refs = ExternalRef.objects.filter(object_kind="support_case", object_id=credit.case_id).exclude(state="superseded")
    return refs.select_related("connection").first()


def clock(credit: Credit) -> list[tuple[datetime, str]]:
    """What moved the clock of the case, in words."""
    if credit.case_id is None:
        return []
    rows = CaseClock.objects.filter(case=credit.case_id)[:200]
    return [(row.at, f"{CLOCK_WORDS.get(row.what, row.what)} {row.value}".strip()) for row in rows]


def platform_sla(credit: Credit) -> list[tuple[datetime | None, str]]:
    """What the support platform's own SLA policies say of the case, a line each."""
    found = []
    for event in (credit.case.platform_sla if credit.case else [])[:MOST]:
        minutes = number(event.get("target"))
        target = f", target {in_minutes(minutes)}" if minutes is not None else ""
        policy = f" ({event['policy']})" if event.get("policy") else ""
        found.append((moment(event.get("at")), f"{PROMISES.get(event['what'], event['what'])}: {event['type']}{target}{policy}"))
    return found


# the computation ------------------------------------------------------------------------------------------------------


def _part(calculation: Any, name: str) -> dict[str, Any]:
    part = calculation.get(name) if isinstance(calculation, dict) else None
    return part if isinstance(part, dict) else {}


def promises(credit: Credit, events: Sequence[tuple[datetime, str]], at: datetime) -> list[Promise]:
    """The promises of the assessment the credit was computed from, as it was stored then: nobody counted any further."""
    assessment = _part(credit.calculation, "assessment")
    judged = moment(assessment.get("at")) or at
    return [_promise(said, events, judged) for said in assessment.get("promises", [])]


def _promise(said: dict[str, Any], events: Sequence[tuple[datetime, str]], at: datetime) -> Promise:
    what, minutes = said.get("what", ""), said.get("what") != "uptime"
    target, actual, missed = (number(said.get(name)) for name in ("target", "actual", "missed_by"))
    unit = in_minutes if minutes else percent
    intervals = [(begin, end) for begin, end in map(_interval, said.get("intervals", [])) if begin and end and end > begin]
    started, stopped = moment(said.get("started")), moment(said.get("stopped"))
    chart = None
    if started and (intervals or stopped):
        allowed = timedelta(minutes=float(target or 0)) if minutes else timedelta(0)
        chart = draw(intervals, allowed, started, stopped or max([at, *(end for _, end in intervals)]), events)
    late = "" if not missed else in_minutes(missed) if minutes else f"{missed.normalize():f} percentage points"
    return Promise(
        PROMISES.get(what, what), unit(target), unit(actual), late, chart,
        [str(line) for line in said.get("explanation", [])],
    )  # fmt: skip


def calculation_lines(decision: dict[str, Any], credit: Credit) -> list[dict[str, Any]]:
    """The computation line by line; a line's rule is a link to the policy it stands in."""
    codes = {line.get("rule") for line in decision.get("lines", []) if line.get("rule")}
    rules = {rule.code: rule for rule in CreditRule.objects.filter(policy=credit.policy_id, code__in=codes)}
    return [
        {
            "text": str(line.get("text", "")).removeprefix(f"{line.get('rule')}: "),
            "amount": money(value, credit.currency) if (value := number(line.get("amount"))) is not None else "",
            "code": line.get("rule", ""),
            "rule": rules.get(line.get("rule")),
        }
        for line in decision.get("lines", [])
    ]  # fmt: skip


def difference(credit: Credit) -> str:
    """By how much the credit is more or less than what the policy computes; '' when it is the same or was not computed."""
    if credit.computed is None or credit.net == credit.computed:
        return ""
    more = credit.net - credit.computed
    return f"{money(abs(more), credit.currency)} {'more' if more > 0 else 'less'} than the policy computes"


# the customer, the books, the chain ------------------------------------------------------------------------------------


def customer(credit: Credit, at: datetime) -> dict[str, Any]:
    """Earlier credits of a year, and what the customer owes. Two statements."""
    year = Credit.objects.filter(party=credit.party_id, submitted_at__gte=at - timedelta(days=365)).exclude(pk=credit.pk)
    earlier = list(year.order_by("-submitted_at").defer("payload", "calculation", "lines", "evidence")[: MOST + 1])
    given: dict[str, Decimal] = defaultdict(Decimal)
    for one in earlier:
        if one.state not in ("rejected", "expired", "withdrawn", "split", "stopped", "reversed") and not one.reverses_id:
            given[one.currency] += one.net
    unpaid = Invoice.objects.filter(party=credit.party_id, paid__lt=F("total")).exclude(
        Q(status__in=("void", "draft", "uncollectible"))
    )
    invoices = list(unpaid.order_by("due_on", "id")[: MOST + 1])
    owed: dict[str, Decimal] = defaultdict(Decimal)
    for invoice in invoices:
        owed[invoice.currency] += invoice.total - invoice.paid
    today = at.date()
    return {
        "earlier": earlier[:MOST], "earlier_rows": [(one, money(one.total, one.currency)) for one in earlier[:MOST]],
        "invoice_rows": [
            (invoice, money(invoice.total - invoice.paid, invoice.currency), invoice.due_on is not None and invoice.due_on < today)
            for invoice in invoices[:MOST]
        ],
        "earlier_more": len(earlier) > MOST, "earlier_sum": sums(given), "invoices": invoices[:MOST],
        "owed": sums(owed), "invoices_more": len(invoices) > MOST,
    }  # fmt: skip


def posting(credit: Credit) -> list[dict[str, Any]]:
    """The lines as they will stand in the books: accounts, tax, and what is recognised now or later."""
    return [
        {
            "description": line.get("description", ""),
            "revenue": line.get("revenue_account", ""),
            "deferred": line.get("deferred_account", ""),
            "taxes": ", ".join(map(str, line.get("tax_codes", []))),
            "net": money(number(line.get("net")), credit.currency),
            "tax": money(number(line.get("tax")) or Decimal(0), credit.currency),
            "service": " to ".join(str(line[name]) for name in ("service_from", "service_to") if line.get(name)),
            "rule": line.get("rule", ""),
        }
        for line in credit.lines
        if isinstance(line, dict)
    ]


def stages(credit: Credit, approvals: Sequence[Approval]) -> list[Stage]:
    """The chain as the rule said at submission, with who has approved this revision."""
    found, open_seen = [], False
    for index, said in enumerate(credit.stages, 1):
        given = [one for one in approvals if one.revision == credit.revision and one.decision == "approve" and one.stage == index]
        count = int(said.get("count", 1))
        look = "done" if len(given) >= count else "ahead" if open_seen or credit.state != "pending" else "now"
        open_seen = open_seen or look == "now"
        found.append(Stage(said.get("role", ""), count, given, look))
    return found


def what_next(credit: Credit, at: datetime) -> list[tuple[str, str]]:
    """What happens next, step by step: (what, done | now | ahead). Nothing for what will never be posted."""
    order = ("pending", "approved", "posting", "posted", "mirrored", "told", "closed")
    where = "pending" if credit.state in ("needs_info", "returned", "stopped") else credit.state
    if where not in order:
        return []
    here = order.index(where)
    billing = "taken back" if credit.reverses_id else "a credit note or balance"
    words = (
        "approved by everyone it needs", "held: it can be undone without a trace in the books",
        f"posted to the ERP of {credit.legal_entity.name}", f"shown in {credit.billing}: {billing}",
        "the case is updated and the customer told", "every system is read again, and all agree",
    )  # fmt: skip
    return [(text, "done" if step < here else "now" if step == here else "ahead") for step, text in enumerate(words)]


def audit(credit: Credit) -> list[dict[str, Any]]:
    """The audit entries of the credit, newest first."""
    rows = AuditEntry.objects.filter(object_kind="credit", object_id=credit.pk).order_by("-seq")[:MOST]
    return [{"seq": row.seq, "at": row.at, "actor": row.actor, "action": row.action, **_told(row.content)} for row in rows]


def _told(content: str) -> dict[str, Any]:
    said = json.loads(content)
    changed = {name: (said["before"].get(name, ""), value) for name, value in said.get("after", {}).items()}
    parts = [said.get(name) for name in ("role", "reason_code", "note", "policy")]
    for_whom = f"for {said['on_behalf_of']}" if said.get("on_behalf_of") else ""
    return {"changed": changed, "why": " · ".join(filter(None, [*parts, for_whom]))}


def changes_since(credit: Credit, revision: int) -> list[tuple[str, Any, Any]]:
    """What became different since somebody read this revision: (field, then, now)."""
    then = credit.history.filter(revision=revision).order_by("-history_id").first()
    now = credit.history.order_by("-history_id").first()
    if then is None or now is None or then.pk == now.pk:
        return []
    shown = ("revision", "net", "tax", "total", "settlement", "invoice", "state", "waiting_role", "edited_by")
    pairs = [(name, getattr(then, name, None), getattr(now, name, None)) for name in shown]
    return [(name.replace("_", " "), before, after) for name, before, after in pairs if before != after]


def rule_in_words(credit: Credit) -> dict[str, Any]:
    """Which rule of the matrix asks for whom: 'Rule 7 v3: every credit from 1000 USD needs …'."""
    rule = credit.approval_rule
    who = ", then ".join(f"{stage.get('count', 1)} × {stage.get('role', '')}" for stage in credit.stages) or "nobody"
    return {"link": link(rule, f"Rule {rule.pk} v{rule.version}") if rule else "", "scope": str(rule or ""), "needs": who}


# reading what was stored -----------------------------------------------------------------------------------------------


def number(value: Any) -> Decimal | None:
    """A stored number, None when there is none."""
    try:
        return None if value in (None, "") else Decimal(str(value))
    except InvalidOperation:
        return None


def moment(value: Any) -> datetime | None:
    """A stored instant, None when there is none."""
    try:
        return parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _interval(pair: Any) -> tuple[datetime | None, datetime | None]:
    return (moment(pair[0]), moment(pair[1])) if isinstance(pair, list | tuple) and len(pair) == 2 else (None, None)


def in_minutes(value: Decimal | None) -> str:
    """Minutes as hours and minutes; below one, as seconds."""
    if value is None:
        return ""
    if 0 < value < 1:
        return length(timedelta(minutes=float(value)))
    hours, rest = divmod(round(value), 60)
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"


def percent(value: Decimal | None) -> str:
    """A percentage."""
    return "" if value is None else f"{value.normalize():f} %"
