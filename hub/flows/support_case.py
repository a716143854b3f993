"""support_case: a case of a support platform is read and recorded, and what it gives reason for becomes a credit.

What was missed is judged when the case is resolved or closed; what an agent asks for on the case, at once. A credit
there is already follows its case (`hub.credits.reassessing`). The flow converges: it may see a case as often as it
likes, and a second time there is nothing to do.

A customer that nobody knows is a question for a finance reviewer, whose approved mapping heals it. What an agent notes on
the case after a reviewer's question was posted there is the answer to it, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from itertools import dropwhile

from django.utils import timezone

from canonical import matching, types, xref
from canonical.models import CaseClock, SupportCase
from canonical.record import NotRecorded, Recorder, observe
from canonical.types import CanonicalObject
from connectors.models import Connection
from hub import answers, booking, inbox, review
from hub.credits import assessing, claiming, questions, reassessing
from hub.credits.models import Credit
from hub.credits.opening import Claim, open_credit
from hub.credits.refusing import NotOpened, NotReady
from hub.engine.flow import Blocked, Flow, Local, Read
from hub.flows import case_note, order_to_cash
from hub.flows import observe as observing
from hub.models import CodeMapping, ReviewItem, Run
from hub.roles import CONTROLLER

NOTES = "notes"
"""Where a run keeps what it found, for its timeline: [{title, text}]."""
SPREAD = "incidents"
"""Where a run keeps the incidents about whose outages its case says something new."""
SAID = "said"
"""Where a run keeps the notes of a case about whose credit a reviewer has asked something."""
BY = "support_case"
"""Who has a case judged anew when another one of its incident tells an outage."""


def record(run: Run, said: Sequence[CanonicalObject]) -> None:
    """Keep what the platform says. A case it no longer has is marked as deleted, when we know it."""
    support = order_to_cash.source(run)
    run.object_id = xref.find(support.pk, "support_case", run.subject_id)
    before = _outages(run.object_id)
    if said:
        run.object_id = _recorded(run, support, said)["support_case", run.subject_id]
    else:
        SupportCase.objects.filter(pk=run.object_id or 0).update(deleted_at_source=True)
    spreading = sorted({one[0] for one in before ^ _outages(run.object_id)})
    is_asked = Credit.objects.filter(case=run.object_id or 0, state="needs_info").exists()
    notes = [note for one in said if isinstance(one, types.SupportCase) for note in one.notes] if is_asked else []
    run.context = {**run.context, SPREAD: spreading, SAID: [note.model_dump(mode="json") for note in notes]}


def _outages(case: int | None) -> set[tuple[str, str, datetime]]:
    """(incident, what, at) of all that a case tells about an incident's outages; without one it tells nothing elsewhere.

    A resolution ends an outage that nobody ended, and the opening begins one that was told to begin before.
    """
    clock = CaseClock.objects.filter(case=case or 0, case__deleted_at_source=False, case__clock__what="down")
    ends = clock.filter(what__in=("down", "up", "resolved", "opened")).exclude(case__incident="")
    return set(ends.values_list("case__incident", "what", "at"))


def spread(run: Run) -> None:
    """Let the other cases of an incident be judged anew when this one tells other outages than before.

    A step of its own, after what was read is committed: of two cases told at once, the later one to get here sees both.
    """
    case = SupportCase.objects.filter(pk=run.object_id or 0).first()
    if case is None:
        return
    support = order_to_cash.source(run)
    for incident in run.context.get(SPREAD, []):
        case.incident = incident
        for other in assessing.of_the_incident(case).filter(status__in=claiming.OVER).order_by("pk"):
            inbox.start(
                FLOW, connection=support, subject_kind=run.subject_kind, by=BY, object_id=other.pk,
                subject_id=xref.id_of("support_case", other.pk, support.pk), correlation_id=run.correlation_id,
            )  # fmt: skip


def _recorded(run: Run, support: Connection, said: Sequence[CanonicalObject]) -> dict[tuple[str, str], int]:
    ladder = Ladder(run, support)
    try:
        return Recorder(support.pk, support.legal_entity, f"run {run.pk}", ladder.identify).record(said)
    except NotRecorded as gap:
        raise Blocked(
            "missing_mapping", review.fingerprint("missing", gap.kind, support.pk, gap.external_id), f"{support}: {gap}",
            group="integration engineer", what=gap.kind, id=gap.external_id,
        ) from None  # fmt: skip


class Ladder:
    """Whom a support platform means by a customer: `canonical.matching` over the billing systems of its legal entity.

    A platform without a legal entity serves all of them.
    """

    def __init__(self, run: Run, support: Connection) -> None:
        self.on, self.support = run.started_at.date(), support

    @cached_property
    def billing(self) -> list[Connection]:
        """The billing systems whose customers may be meant, oldest first."""
        live, entity = Connection.objects.filter(role="billing").exclude(state="revoked").order_by("pk"), self.support.legal_entity
        return list(live.filter(legal_entity=entity) if entity else live)

    def identify(self, said: types.Party) -> int:
        """Our id of the customer. Blocks when it is not certain."""
        if not self.billing:
            raise Blocked(
                "missing_mapping", review.fingerprint("missing", "billing", self.support.pk),
                f"No billing connection knows the customers of {self.support}", group="integration engineer", what="billing",
                source=self.support.slug,
            )  # fmt: skip
        try:
            return matching.match(said, [one.pk for one in self.billing], self.mapped)
        except matching.Unmatched as unmatched:
            # The mapping that is asked for is into the first; one into another is found as well, by trying again.
            target = self.billing[0]
            raise Blocked(
                "missing_mapping", review.fingerprint("missing", "customer", self.support.pk, said.external_id, target.pk),
                f"Customer {said.name or said.external_id} of {self.support} is none that {target} surely has",
                group=booking.ACCOUNTANT, what="customer", source=self.support.slug, source_code=said.external_id,
                target=target.slug, on=self.on.isoformat(), name=said.name, email=said.email, same_as=said.same_as,
                proposals=[{"code": one.code, "name": one.name, "why": one.why} for one in unmatched.proposals],
            ) from None  # fmt: skip

    def mapped(self, external_id: str) -> int | None:
        """Our id of the customer that an approved mapping names."""
        rows = CodeMapping.objects.filter(
            booking.in_force(self.on), what="customer", source=self.support, source_code=external_id, target__in=self.billing
        ).order_by("-version", "-pk")
        return next((pk for row in rows if (pk := xref.find(row.target_id, "party", row.target_code))), None)


def assess(run: Run) -> None:
    """Open the credits that the case gives reason for, let those there are follow it, and note what was found."""
    case = SupportCase.objects.select_related("party").filter(pk=run.object_id or 0).first()
    if case is None:
        return
    answered = [note for credit in case.credits.filter(state="needs_info").order_by("pk") for note in _answer(run, credit)]
    run.context = {**run.context, NOTES: answered + [note for ask in ASKED for note in _look(run, case, *ask)]}


def _answer(run: Run, credit: Credit) -> list[dict[str, str]]:
    """Take the first note of an agent that stands after the question on the case for the answer to it."""
    question, told = questions.asked(credit), run.context.get(SAID, [])
    if question is None:
        return []
    posted = Run.objects.filter(flow=case_note.NAME, subject_id=credit.number, context__question=question.pk)
    ours = set(posted.values_list("context__note", flat=True))
    after = dropwhile(lambda note: note["external_id"] not in ours, told)
    said = next((note for note in after if note["is_answer"]), None)
    if said is None:
        return []
    by = said["by"] or "an agent"
    questions.answer(credit, by=by, text=said["text"], external_id=said["external_id"], to=question, source="support")
    return [_note("Answer", f"{by} answered the question about {credit.number} on the case.")]


Ask = Callable[..., Claim | None]
ASKED: tuple[tuple[str, Ask], ...] = (
    (Credit.Origin.AGENT.value, claiming.asked_for),
    (Credit.Origin.SLA.value, claiming.missed),
)
"""In this order: what an agent asks for covers what was missed, when it is for the same reason."""
GIVEN_UP = ("rejected", "expired", "withdrawn")
"""What an agent may ask for again, in other words. What was missed is asked for once: a decision about it is one for good."""


def _look(run: Run, case: SupportCase, origin: str, ask: Ask) -> list[dict[str, str]]:
    support, at = order_to_cash.source(run), timezone.now()
    known = case.credits.filter(origin=origin, reverses=None, split_from=None).order_by("-pk").first()
    try:
        if known is not None and (known.state not in GIVEN_UP or origin == Credit.Origin.SLA):
            done = reassessing.reassess(known, at=at)
            return [_note("Credit", done or f"{known.number} is {known.state.replace('_', ' ')}, and nothing has changed.")]
        claim = None if case.deleted_at_source else ask(case, support, at=at)
        if claim is None:
            return []
        if known is not None and (claim.amount, claim.note) == (known.requested, known.note):
            return [_note("No credit", f"{known.number} was asked for in the same words, and is {known.state}.")]
        if origin == Credit.Origin.SLA and (same := _covered(case, claim)):
            return [_note("No further credit", f"{same.number} was asked for on this case, for the same reason.")]
        credit = open_credit(claim, at=at)
    except NotReady as missing:
        raise Blocked(
            "missing_mapping", review.fingerprint("missing", booking.SET_UP, str(missing)), str(missing)[:300], group=CONTROLLER,
            what=booking.SET_UP, case=case.pk, explanation=missing.explanation,
        ) from None  # fmt: skip
    except NotOpened as nothing:
        return [_note("No credit", "\n".join([str(nothing), *nothing.explanation]))]
    run.amount, run.currency = credit.total, credit.currency
    state = f"stopped: {credit.duplicate_why}, see {credit.duplicate_of.number}" if credit.duplicate_of else credit.state
    return [_note("Credit asked for", f"{credit}, {state}.")]


def _covered(case: SupportCase, claim: Claim) -> Credit | None:
    """The agent's credit for what was missed."""
    missed = [promise.what for promise in claim.assessment.missed] if claim.assessment else []
    standing = case.credits.filter(origin=Credit.Origin.AGENT, reason__in=missed).exclude(state__in=[*GIVEN_UP, "stopped"])
    return standing.order_by("pk").first()


def _note(title: str, text: str) -> dict[str, str]:
    return {"title": title, "text": text}


def heal_known() -> int:
    """Let cases go on whose customer billing has told us of since: a case can be quicker than its customer's own news."""
    healed = 0
    asked = ReviewItem.objects.filter(state="open", cause="missing_mapping", detail__what="customer").exclude(detail__same_as="")
    for item in asked.select_related("connection__legal_entity"):
        billing = Connection.objects.filter(role="billing", legal_entity=item.connection.legal_entity if item.connection else None)
        if any(xref.find(one.pk, "party", item.detail.get("same_as", "")) for one in billing.exclude(state="revoked")):
            healed += answers.heal(item, by="support_case")
    return healed


def record_party(run: Run, said: Sequence[CanonicalObject]) -> None:
    """Keep what the platform says about a customer it is known to mean; others wait for their first case."""
    support = order_to_cash.source(run)
    run.object_id = xref.find(support.pk, "party", run.subject_id)
    for party in said:
        if run.object_id is not None and isinstance(party, types.Party):
            observe(support.pk, party)


FLOW = Flow(
    name="support_case",
    title="Support case",
    group=booking.ACCOUNTANT,
    triggers=frozenset(f"support.case.{past}" for past in ("opened", "updated", "resolved", "deleted", "observed")),
    steps=(
        Read("read", order_to_cash.source, order_to_cash.what_to_read, observing.ask, record),
        Local("spread", spread),
        Local("assess", assess),
    ),
)
"""A case → recorded; resolved with a missed promise, or asked for by an agent → a credit."""

PARTY = Flow(
    name="support_party",
    title="Support customer",
    group=booking.ACCOUNTANT,
    triggers=frozenset({"support.party.updated"}),
    steps=(Read("read", order_to_cash.source, order_to_cash.what_to_read, observing.ask, record_party),),
)
"""An organisation of the support platform → observed, when we know whom it means."""
