"""A customer in the ERP: asked for in one way by every workflow that posts documents."""

from __future__ import annotations

from canonical import xref
from canonical.commands import EnsureParty
from canonical.models import Party
from canonical.types import Address
from connectors.models import Connection


def ensure(customer: Party, billing: Connection, erp: Connection) -> EnsureParty | None:
    """Find or create the customer, called by billing's id there; None when the ERP has it."""
    if xref.external("party", customer.pk, erp.pk):
        return None
    name = xref.id_of("party", customer.pk, billing.pk)
    code = f"{billing.slug}/{name}"
    return EnsureParty(
        key=code, code=code, name=customer.name or customer.email or name, email=customer.email, tax_id=customer.tax_id,
        address=Address.model_validate(customer.address or {}),
    )  # fmt: skip


def lane(customer: Party) -> str:
    """Customers are written to by several runs, one at a time."""
    return f"party:{customer.pk}"
