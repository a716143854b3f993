"""How a document is booked: which rule, which accounts, which codes; and who must be asked when nothing says so.

The rule and version used are stored on every line, so that a posting is explained for ever. A missing mapping is one
review item for all it blocks; approving the mapping heals exactly those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Q

from canonical import xref
from canonical.commands import PostingLine
from canonical.models import Invoice, InvoiceLine, LegalEntity, Party, Product
from connectors.models import Connection
from hub import answers, review
from hub.engine.flow import Blocked
from hub.models import AccountingRule, CodeMapping, ReviewItem

ACCOUNTANT = "finance reviewer"


def erp_of(entity: LegalEntity) -> Connection:
    """The ERP that keeps an entity's books. Blocks when there is none."""
    erp = Connection.objects.filter(role="erp", legal_entity=entity).exclude(state="revoked").first()
    if erp is None:
        raise Blocked(
            "missing_mapping", review.fingerprint("missing", "erp", entity.pk), f"No ERP connection keeps the books of {entity}",
            group="integration engineer", what="erp", entity=entity.code,
        )  # fmt: skip
    return erp


def in_force(on: date) -> Q:
    """Rows approved and valid on a day."""
    return Q(state="active", valid_from__lte=on) & (Q(valid_to__isnull=True) | Q(valid_to__gte=on))


@dataclass(frozen=True, slots=True)
class Scope:
    """What an accounting rule is chosen by."""

    entity: LegalEntity
    product: Product | None
    region: str
    on: date

    @property
    def family(self) -> str:
        """Product family, '' without a product."""
        return self.product.family if self.product else ""


def specificity(rule: AccountingRule) -> tuple[int, int, int]:
    """Sort key of matching rules: product over family over region, then the newer version, then the later row."""
    weight = 8 * bool(rule.product_id) + 4 * bool(rule.product_family) + 2 * bool(rule.region)
    return weight, rule.version, rule.pk


def accounting_rule(scope: Scope, rules: Sequence[AccountingRule]) -> AccountingRule:
    """The most specific rule that matches. Blocks when none does."""
    matching = [
        rule
        for rule in rules
        if rule.product_id in (None, scope.product.pk if scope.product else None)
        and rule.product_family in ("", scope.family)
        and rule.region in ("", scope.region)
    ]
    if not matching:
        name = scope.product.name if scope.product else "lines without a product"
        raise Blocked(
            "missing_mapping",
            review.fingerprint(
                "missing", "accounting_rule", scope.entity.pk, scope.product.pk if scope.product else 0, scope.region
            ),
            f"No accounting rule for {name} in {scope.entity}" + (f" ({scope.region})" if scope.region else ""),
            group=ACCOUNTANT, what="accounting_rule", entity=scope.entity.code,
            product=scope.product.pk if scope.product else None, region=scope.region, on=scope.on.isoformat(),
        )  # fmt: skip
    return max(matching, key=specificity)


def code(what: str, source: Connection, source_code: str, target: Connection, on: date, label: str = "") -> CodeMapping:
    """The mapping of a billing code to an ERP code. Blocks when there is none."""
    found = (
        CodeMapping.objects.filter(in_force(on), what=what, source=source, source_code=source_code, target=target)
        .order_by("-version", "-pk").first()
    )  # fmt: skip
    if found is None:
        raise Blocked(
            "missing_mapping", review.fingerprint("missing", what, source.pk, source_code, target.pk),
            f"{what.replace('_', ' ').capitalize()} {label or source_code} of {source} has no code in {target}",
            group=ACCOUNTANT, what=what, source=source.slug, source_code=source_code, target=target.slug, on=on.isoformat(),
        )  # fmt: skip
    return found


def book(invoice: Invoice, source: Connection) -> None:
    """Decide how every line is booked, and store it with the rules used. Blocks on the first thing missing."""
    erp = erp_of(invoice.legal_entity)
    rules = list(AccountingRule.objects.filter(in_force(invoice.issued_on), legal_entity=invoice.legal_entity))
    lines = list(invoice.lines.select_related("product"))
    for line in lines:
        line.posting = _posting(line, invoice, invoice.party, source, erp, rules)
    InvoiceLine.objects.bulk_update(lines, ["posting"])


def _posting(
    line: InvoiceLine, invoice: Invoice, party: Party, source: Connection, erp: Connection, rules: Sequence[AccountingRule]
) -> dict[str, Any]:
    rule = accounting_rule(Scope(invoice.legal_entity, line.product, party.region, invoice.issued_on), rules)
    taxes = [code("tax", source, tax["code"], erp, invoice.issued_on) for tax in line.taxes]
    used = [rule.label, *(tax.label for tax in taxes)]
    product_code = ""
    if line.product is not None:
        source_code = xref.id_of("product", line.product.pk, source.pk)
        product = code("product", source, source_code, erp, invoice.issued_on, line.product.name)
        product_code = product.target_code
        used.append(product.label)
    return {
        "revenue_account": rule.revenue_account, "deferred_account": rule.deferred_account, "journal": rule.journal,
        "dimensions": rule.dimensions, "product_code": product_code,
        "tax_codes": [tax.target_code for tax in taxes] or ([rule.tax_code] if rule.tax_code else []), "rules": used,
    }  # fmt: skip


def payment_term(invoice: Invoice, source: Connection) -> str:
    """The ERP's term for the days billing gave ("net30"), '' when nobody mapped it: then the due date alone is carried."""
    if invoice.due_on is None:
        return ""
    erp, days = erp_of(invoice.legal_entity), (invoice.due_on - invoice.issued_on).days
    found = CodeMapping.objects.filter(
        in_force(invoice.issued_on), what="payment_term", source=source, source_code=f"net{days}", target=erp
    ).order_by("-version", "-pk")
    return found.values_list("target_code", flat=True).first() or ""


def posting_lines(invoice: Invoice) -> tuple[PostingLine, ...]:
    """The booked lines as the ERP is asked for them."""
    return tuple(
        PostingLine(
            description=line.description or (line.product.name if line.product else "Service"),
            product_code=line.posting["product_code"], revenue_account=line.posting["revenue_account"],
            deferred_account=line.posting["deferred_account"] if line.service_from and line.service_to else "",
            tax_codes=tuple(line.posting["tax_codes"]), quantity=line.quantity, net=line.net, tax=line.tax,
            service_from=line.service_from, service_to=line.service_to, dimensions=line.posting["dimensions"],
            rule=" ".join(line.posting["rules"])[:2000],
        )
        for line in invoice.lines.select_related("product")
        if line.posting is not None
    )  # fmt: skip


def heal_with(row: AccountingRule | CodeMapping, *, by: str) -> int:
    """A row came into force: let go on exactly what waited for what it says. Returns how many steps.

    Inside the transaction that put the row in force. An item collects documents of several days under the first one's;
    it heals when the row says it for any of them, and what is of another day asks again.
    """
    review.wait_for_settling()
    healed = 0
    for item in ReviewItem.objects.filter(state="open", cause=ReviewItem.Cause.MISSING_MAPPING):
        if _answers(row, item.detail) and any(_covers(row, day) for day in _days(item)):
            healed += answers.heal(item, by=by)
    return healed


def heal_set_up(*, by: str) -> int:
    """A rule about credits came into force: let go on whatever waits for some such rule; what is still missing asks again."""
    review.wait_for_settling()
    waiting = ReviewItem.objects.filter(state="open", cause=ReviewItem.Cause.MISSING_MAPPING, detail__what=SET_UP)
    return sum(answers.heal(item, by=by) for item in waiting)


SET_UP = "credit set-up"
"""What a question asks for that no single mapping answers: terms, policies, approval rules, rates."""


def _covers(row: AccountingRule | CodeMapping, day: date) -> bool:
    return row.valid_from <= day and (row.valid_to is None or day <= row.valid_to)


def _days(item: ReviewItem) -> set[date]:
    """The days whose rules the blocked runs ask for: an invoice's own, else the run's."""
    runs = review.blocked_runs(item)
    of_invoices = runs.filter(subject_kind="invoice").values("object_id")
    days = set(Invoice.objects.filter(pk__in=of_invoices).values_list("issued_on", flat=True))
    others = runs.exclude(subject_kind="invoice").values_list("started_at", flat=True)
    return days | {at.date() for at in others} | {date.fromisoformat(item.detail["on"])}


def _answers(row: AccountingRule | CodeMapping, asked: dict[str, Any]) -> bool:
    if "on" not in asked:
        return False
    if isinstance(row, CodeMapping):
        return (row.what, row.source.slug, row.source_code, row.target.slug) == (
            asked["what"], asked.get("source"), asked.get("source_code"), asked.get("target"),
        )  # fmt: skip
    if asked["what"] != "accounting_rule" or row.legal_entity.code != asked["entity"]:
        return False
    product = Product.objects.filter(pk=asked["product"]).first() if asked["product"] else None
    scope = Scope(row.legal_entity, product, asked["region"], row.valid_from)
    try:
        return accounting_rule(scope, [row]) == row
    except Blocked:
        return False
