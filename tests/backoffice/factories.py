"""Rows for the back office's tests: a billing and an ERP connection, invoices with runs in every state, questions."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from canonical.models import ExternalRef, Invoice, InvoiceLine, LegalEntity, Observation, Party, Product
from canonical.models.base import record_transition
from connectors import registry
from connectors.models import Connection
from connectors.sdk.contract import Connector, Health, Page
from connectors.sdk.errors import BadPayload, Misconfigured
from hub import review
from hub.models import AccountingRule, Attempt, CodeMapping, InboxEvent, ReviewItem, Run, Step

SECRET = "sk_live_do_not_show_4242"
WEBHOOK_SECRET = "whsec_do_not_show_either_9999"
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2) x-data="{{ alert(3) }}">'


class Settings(BaseModel):
    """Settings of the pretended vendors."""

    model_config = ConfigDict(extra="forbid")
    base_url: str = Field(description="For example https://books.example.com")
    page_size: int = Field(default=100, ge=1)


class Credentials(BaseModel):
    """Credentials of the pretended vendors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    api_key: str = Field(min_length=8)
    password: SecretStr | None = None


def check(client: Any, call: Any) -> Health:
    """Answers unless the address says it should not."""
    if "broken" in client.base_url:
        raise Misconfigured("401 Unauthorized")
    return Health(identity="Example Ltd", detail="version 8")


def envelope(body: bytes) -> Any:
    raise BadPayload("not understood by the pretended vendor")


def verify(delivery: Any, secrets: Any, now: datetime) -> int:
    return 0


BILLING = Connector(
    slug="pretend-billing",
    title="Pretend Billing",
    role="billing",
    settings=Settings,
    credentials=Credentials,
    open=lambda settings, credentials, http: settings,
    check=check,
    verify=verify,
    envelope=envelope,
    pages={"events": lambda client, since, cursor, call: Page((), None)},
)
ERP = Connector(
    slug="pretend-erp",
    title="Pretend Books",
    role="erp",
    settings=Settings,
    credentials=Credentials,
    open=lambda settings, credentials, http: settings,
    check=check,
    pages={"documents": lambda client, since, cursor, call: Page((), None)},
)


def register() -> None:
    """Make the pretended vendors known."""
    registry.register(BILLING)
    registry.register(ERP)


def user(name: str, *roles: str, superuser: bool = False) -> User:
    """A person on the staff with these roles, and no password: hashing one takes longer than most tests."""
    made = User.objects.create(username=name, email=f"{name}@example.com", is_staff=True, is_superuser=superuser)
    made.groups.set(Group.objects.filter(name__in=roles))
    return made


def entity(code: str = "de") -> LegalEntity:
    """A legal entity."""
    return LegalEntity.objects.get_or_create(code=code, defaults={"name": "Example GmbH", "currency": "EUR", "country": "DE"})[0]


def connection(slug: str = "billing", spec: Connector = BILLING, state: str = "active", **more: Any) -> Connection:
    """A connection with settings and secrets."""
    made = Connection(
        slug=slug,
        title=slug.capitalize(),
        connector=spec.slug,
        legal_entity=entity(),
        settings={"base_url": "https://x.example"},
        state=state,
        **more,
    )
    made.set_credentials({"api_key": SECRET})
    if spec.verify:
        made.set_webhook_secret(WEBHOOK_SECRET)
    made.save()
    return made


def event(source: Connection, external_id: str, subject_id: str = "in_1", body: Any = None, **more: Any) -> InboxEvent:
    """An event that came in."""
    raw = json.dumps(body if body is not None else {"id": external_id, "type": "invoice.finalized"}).encode()
    fields = {
        "kind": "invoice.finalized",
        "name": "billing.invoice.finalized",
        "subject_kind": "invoice",
        "subject_id": subject_id,
        "origin": "webhook",
        "disposition": "run",
        "body": raw,
        "body_digest": uuid.uuid5(uuid.NAMESPACE_OID, str(raw)).hex * 2,
        **more,
    }
    return InboxEvent.objects.create(connection=source, external_id=external_id, **fields)


def invoice(source: Connection, number: int = 1, *, customer: str = "Northwind", total: str = "119.00") -> Invoice:
    """An invoice with a line, a customer, and their ids in billing."""
    party, fresh = Party.objects.get_or_create(name=customer, defaults={"email": "ap@northwind.example", "region": "DE"})
    if fresh:
        ref(source, "party", party.pk, f"cus_{party.pk}")
    product = Product.objects.get_or_create(name="Team plan", defaults={"family": "plans"})[0]
    net = (Decimal(total) / Decimal("1.19")).quantize(Decimal("0.01"))
    made = Invoice.objects.create(
        number=f"A-{number:04}",
        party=party,
        legal_entity=entity(),
        status="open",
        currency="EUR",
        issued_on=date(2026, 11, 1),
        net=net,
        tax=Decimal(total) - net,
        total=Decimal(total),
    )
    InvoiceLine.objects.create(
        invoice=made,
        external_id="il_1",
        position=0,
        description="Team plan, November",
        product=product,
        net=made.net,
        tax=made.tax,
        posting={
            "revenue_account": "4400",
            "deferred_account": "3900",
            "tax_codes": ["VAT 19 %"],
            "rules": ["accountingrule:1/v1"],
        },
    )
    ref(source, "invoice", made.pk, f"in_{number}", number=made.number)
    return made


def ref(system: Connection, kind: str, pk: int, external_id: str, **more: Any) -> ExternalRef:
    """A reference."""
    return ExternalRef.objects.create(
        connection=system, kind=kind, object_kind=kind, object_id=pk, external_id=external_id, provenance="test", **more
    )


def run(source: Connection, subject: Invoice | None = None, state: str = "open", **more: Any) -> Run:
    """A run about an invoice."""
    subject_id = (
        ExternalRef.objects.get(object_kind="invoice", object_id=subject.pk, connection=source).external_id if subject else "in_x"
    )
    fields: dict[str, Any] = {
        "flow": "order_to_cash",
        "lane": f"invoice:{source.pk}:{subject_id}",
        "connection": source,
        "subject_kind": "invoice",
        "subject_id": subject_id,
        **more,
    }
    if subject:
        fields |= {"object_id": subject.pk, "amount": subject.total, "currency": subject.currency}
    made = Run(**fields, state=state)
    made.ended_at = datetime.now(UTC) if state in ("done", "closed", "compensated") else None
    made.save()
    return made


def step(
    of: Run,
    name: str,
    state: str = "done",
    system: Connection | None = None,
    waiting_on: ReviewItem | None = None,
    **more: Any,
) -> Step:
    """A step of a run."""
    made = Step(run=of, name=name, lane=of.lane, connection=system, waiting_on=waiting_on, state=state, **more)
    made.ended_at = datetime.now(UTC) if state in ("done", "failed") else None
    made.save()
    return made


def attempt(of: Step, number: int = 1, outcome: str = "done", *, error: str = "", response: str = '{"id": 17}') -> Attempt:
    """An attempt with one exchange."""
    exchange = {
        "method": "POST",
        "url": "https://x.example/documents",
        "request": '{"total": "119.00"}',
        "status": 200,
        "response": response,
        "milliseconds": 41,
        "error": "",
    }
    return Attempt.objects.create(
        step=of,
        run=of.run,
        connection=of.connection,
        number=number,
        outcome=outcome,
        worker="w:1",
        milliseconds=41,
        error=error,
        error_code="http_500" if error else "",
        exchanges=[exchange],
    )


def question(
    cause: str = "refused", of: Step | None = None, *, group: str = "finance reviewer", title: str = "", **detail: Any
) -> ReviewItem:
    """An open question, which `of` waits for."""
    item = review.open_item(
        cause,
        review.fingerprint(cause, uuid.uuid4()),
        title or f"post: {cause} by the ERP",
        group=group,
        source=of.connection_id if of else None,
        detail={**({"run": of.run_id, "step": of.name} if of else {}), **detail},
    )
    if of is not None:
        Step.objects.filter(pk=of.pk).update(state="waiting", waiting_on=item)
        Run.objects.filter(pk=of.run_id).update(state="parked")
    return item


def mapping(source: Connection, target: Connection, drafted_by: User, code: str = "prod_1", **more: Any) -> CodeMapping:
    """A draft of a product mapping."""
    fields = {"what": "product", "source_code": code, "target_code": "TEAM", "valid_from": date(2026, 1, 1), **more}
    return CodeMapping.objects.create(source=source, target=target, drafted_by=drafted_by, **fields)


def rule(drafted_by: User, **more: Any) -> AccountingRule:
    """A draft of an accounting rule."""
    fields = {"legal_entity": entity(), "revenue_account": "4400", "valid_from": date(2026, 1, 1), **more}
    return AccountingRule.objects.create(drafted_by=drafted_by, **fields)


def story(
    source: Connection,
    erp: Connection,
    number: int = 1,
    *,
    ending: str = "done",
    customer: str = "Northwind",
    total: str = "119.00",
) -> Run:
    """An invoice from the event to the ERP, ending in `ending`: done, refused, unknown, missing or parked."""
    came = event(source, f"evt_{number}", f"in_{number}")
    about = invoice(source, number, customer=customer, total=total)
    of = run(source, about, "done" if ending == "done" else "open", event=came)
    for name, system in (("read", source), ("book", None), ("customer", erp)):
        done = step(of, name, "done", system, request={"kind": "invoice", "id": f"in_{number}"} if system else None)
        attempt(done)
        if ending == "missing" and name == "book":
            break
    if ending == "missing":
        return of
    key = f"{source.slug}/in_{number}"
    post = step(
        of,
        "post",
        "done",
        erp,
        key=key,
        request={"total": total, "lines": [{"revenue_account": "4400"}]},
        result={"external_id": "17"},
    )
    if ending == "done":
        ref(
            erp,
            "invoice",
            about.pk,
            f"{1000 + number}",
            number=f"RE/{number:05}",
            key=key,
            url="https://books.example/inv/17",
        )
        attempt(post, outcome="unknown", error="500 after sending")
        attempt(post, 2, "found")
        step(of, "write_back", "done", source)
        record_transition(of, "finish", "open", by="engine", run_id=of.pk)
    else:
        Step.objects.filter(pk=post.pk).update(state="unknown", ended_at=None, error="timeout after 25 s")
        post.refresh_from_db()
        attempt(post, outcome="refused" if ending == "refused" else "unknown", error="The period 2026-11 is closed")
    if ending == "refused":
        question(
            "refused",
            post,
            title="post: The period 2026-11 is closed",
            code="closed_period",
            message="The period 2026-11 is closed",
        )
        record_transition(of, "park", "open", by="engine", note="The period 2026-11 is closed", run_id=of.pk)
    elif ending == "parked":
        question(
            "unknown_outcome",
            post,
            title="post: nobody knows whether it happened",
            code="timeout",
            message="timeout after 25 s",
        )
    return of


def observation(source: Connection, external_id: str = "in_1", **said: Any) -> Observation:
    """What a system said."""
    return Observation.objects.create(
        connection=source,
        kind="invoice",
        external_id=external_id,
        digest=uuid.uuid4().hex * 2,
        said={"number": "A-0001", **said},
    )


def age(item: ReviewItem, days: int) -> None:
    """Make a question older."""
    ReviewItem.objects.filter(pk=item.pk).update(opened_at=datetime.now(UTC) - timedelta(days=days))
