"""Credits for the tests of the desk: computed ones from missed promises, and many plain ones, by rules in force."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from hub.credits import opening
from hub.credits.models import Credit
from tests.credits import company, factories


def computed(late: timedelta = timedelta(hours=30), *, firm: company.Company | None = None, **told: Any) -> Credit:
    """A credit the policy computed because a case of a paying customer was resolved too late."""
    firm = firm or company.found()
    case = firm.case(late=late, **told)
    return opening.open_credit(firm.missed(case), at=company.NOW)


def many(count: int, net: str = "100", **told: Any) -> list[Credit]:
    """So many credits of different customers that wait for a finance reviewer; amounts grow by one."""
    return [
        factories.credit(str(Decimal(net) + n), party=factories.party(f"Customer {n:03}"), **told) for n in range(count)
    ]  # fmt: skip


def url(credit: Credit | int, action: str = "") -> str:
    """The page of a credit, or of one of its buttons."""
    pk = credit if isinstance(credit, int) else credit.pk
    return reverse("admin:desk_act", args=[pk, action]) if action else reverse("admin:desk_credit", args=[pk])


def fresh(credit: Credit) -> Credit:
    """As it is now; its state is protected against refreshing in place."""
    return Credit.objects.get(pk=credit.pk)


def confirm(client: Any, user: User, password: str) -> Any:
    """Prove anew who one is."""
    return client.post(reverse("account_reauthenticate"), {"password": password})
