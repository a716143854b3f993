"""Step-up: before what weighs most, a person proves again who they are, with the second factor where they have one."""

from __future__ import annotations

from datetime import UTC, datetime

from allauth.account.authentication import get_authentication_records
from allauth.core.internal.httpkit import add_query_params
from allauth.mfa.models import Authenticator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse


def confirmed_at(request: HttpRequest) -> datetime | None:
    """When this session last proved who it is; None when it never did.

    Who has a second factor proves it with that; the password alone does not count for them.
    """
    has_factor = Authenticator.objects.filter(user=request.user.pk).exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
    records = get_authentication_records(request, request.user)
    times = [record["at"] for record in records if record.get("method") == "mfa" or not has_factor]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def redirect_to_confirm(request: HttpRequest, back: str) -> HttpResponse:
    """Send the browser to the page that asks for it, and from there to `back`, a path of ours."""
    has_factor = Authenticator.objects.filter(user=request.user.pk).exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
    page = reverse("mfa_reauthenticate" if has_factor else "account_reauthenticate")
    return redirect(add_query_params(page, {"next": back}))
