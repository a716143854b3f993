"""What can be done about customers and products that do not agree; what a person does about schedules and control totals."""

from __future__ import annotations

from django.db.models import Count

from canonical.models import ExternalRef, Party
from connectors.models import Connection
from hub import booking
from hub.flows import customers
from hub.models import CodeMapping
from reconciliation.mending.plan import Page, Plan, Relink, WhyNot, Work, Write, books, hand_over, words
from reconciliation.models import Break, Mend, ReadingRow


def customer(break_: Break) -> Plan | None:
    """Make the customer in the ERP, as every workflow does that posts documents."""
    if (break_.pair, break_.type) != ("customers", "missing_right"):
        return None
    erp = booking.erp_of(break_.legal_entity)
    for billing in _billing(break_):
        ids = break_.left.get("ids") or []
        ref = ExternalRef.objects.filter(connection=billing, kind="party", external_id__in=ids).exclude(state="superseded").first()
        if ref is not None:
            break
    else:
        return _by_an_invoice(break_)
    party = Party.objects.get(pk=ref.object_id)
    request = customers.ensure(party, billing, erp)
    if request is None:
        raise WhyNot(f"The hub made the customer in {erp}, and it is gone there: whoever deleted it says what becomes of it.")
    effects = (
        f"would find or make customer {request.code}, {request.name}, in {books(erp)}",
        "its documents are posted by their own runs; those that wait for it go on",
    )
    becomes = {"kind": "party", "object_kind": "party", "object_id": party.pk}
    return Plan(Mend.Plan.POST, words("post"), effects, act=Write(erp, "ensure_party", request, customers.lane(party), becomes))


def survivors(break_: Break) -> list[Plan]:
    """A customer that the ERP has more than once: one plan for each that may be the one that stays, for a person to choose."""
    if (break_.pair, break_.type) != ("customers", "duplicate"):
        return []
    erp = booking.erp_of(break_.legal_entity)
    held = ReadingRow.objects.filter(scan=break_.last_scan_id, connection=erp)
    refs = ExternalRef.objects.filter(connection=erp, kind="party", external_id__in=break_.right.get("ids") or [])
    ref = refs.order_by("state", "-id").first()  # the active one, where there is one
    found = []
    ids = break_.right.get("ids") or []
    documents = dict(held.filter(kind="invoice", party__in=ids).values_list("party").annotate(Count("pk")).order_by())
    for row in held.filter(kind="party", external_id__in=ids).exclude(status="gone").order_by("external_id"):
        called = f"customer {row.external_id} ({row.number or 'no code'}, {documents.get(row.external_id, 0)} invoices)"
        if ref is None:
            why = "The hub never made this customer: whoever keeps customers in the ERP replaces one by the other there."
            return [Plan(Mend.Plan.RELINK, words("relink"), why_not=why)]
        effects = (
            f"{called} would be the one that stays: the hub posts to it from now on, and the other ids lead to it",
            f"nothing is posted; whoever keeps customers in {erp} moves what is open there, and deactivates the others",
        )
        act = Relink(erp, "party", row.external_id, ref.object_id, row.number)
        found.append(Plan(Mend.Plan.RELINK, words("relink"), effects, act=act, choice=row.external_id))
    return found


def _by_an_invoice(break_: Break) -> Plan | None:
    """The hub has not met the customer: whoever works one of its invoices makes it."""
    rows = ReadingRow.objects.filter(
        scan=break_.last_scan_id, connection__in=_billing(break_), kind="invoice", party__in=break_.left.get("ids") or [],
    ).exclude(status__in=["draft", "void"])  # fmt: skip
    row = rows.select_related("connection").order_by("on", "id").first()
    if row is None:
        return None
    effects = (
        f"would work invoice {row.number or row.external_id} of {row.connection} by order to cash, which makes the customer first",
    )
    act = Work(row.connection, "invoice", row.external_id)
    return Plan(Mend.Plan.POST, words("post"), effects, act=act)


def _billing(break_: Break) -> list[Connection]:
    known = Connection.objects.filter(role="billing", legal_entity=break_.legal_entity).exclude(state="revoked")
    return list(known.order_by("pk"))


def by_hand(break_: Break) -> Plan | None:
    """Who does what about customers, products, schedules and totals."""
    if break_.pair == "customers":
        return _customer_by_hand(break_)
    if break_.pair == "products":
        return _product_by_hand(break_)
    if (break_.pair, break_.type) == ("recognition", "stale"):
        return hand_over(
            "its service is over, and the ERP has not recognised all of it: whoever keeps the ledger lets it post the periods "
            "that are missing (Tryton: Create Deferred Moves), or opens the period it is waiting for",
        )
    if break_.pair == "control_totals":
        return hand_over(
            "each difference is within the tolerance, and together they are not: a controller lowers the tolerance of the "
            "currency, scans again, and writes off or restates the documents that then show",
        )
    return None


def _customer_by_hand(break_: Break) -> Plan | None:
    ids = ", ".join(str(each) for each in break_.right.get("ids") or [])
    if break_.type == "duplicate":
        return hand_over(
            f"customers {ids} of the ERP are one: whoever keeps customers there moves what is open to the one that stays, and "
            f"deactivates the others (Tryton: Party, Replace); the break closes when one is left",
            page=_link_page(break_),
        )
    if break_.type == "missing_left":
        return hand_over(
            f"customer {ids} carries our key, and billing has no such customer: deactivate it in the ERP if nothing is open"
        )
    if break_.type == "status":
        return hand_over(
            f"customer {ids} is active in billing and deactivated in the ERP: whoever keeps customers there activates it"
        )
    return None


def _link_page(break_: Break) -> Page | None:
    ids = [str(each) for each in break_.right.get("ids") or []]
    ref = ExternalRef.objects.filter(connection__role="erp", connection__legal_entity=break_.legal_entity, kind="party",
                                     external_id__in=ids).order_by("-id").first()  # fmt: skip
    return Page("Open the customer", "canonical_party_change", {"pk": str(ref.object_id)}) if ref else None


def _product_by_hand(break_: Break) -> Plan | None:
    code, target = break_.left.get("id", ""), break_.right.get("code", "")
    mapping = CodeMapping.objects.filter(
        what="product", source__in=_billing(break_), source_code=code, target_code=target, state="active"
    ).order_by("-version").first()  # fmt: skip
    how = (
        f"bring product {target} back in the ERP"
        if break_.type == "missing_right"
        else f"activate product {target} in the ERP again"
    )
    effects = (f"whoever keeps products there may {how}", "or draft a new version of the mapping; another person approves it")
    page = Page("Open the mapping", "hub_codemapping_change", {"pk": str(mapping.pk)}) if mapping else None
    return hand_over(*effects, page=page)
