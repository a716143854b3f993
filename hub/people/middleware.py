"""A deployment may demand a second factor (`TIEOUT_REQUIRE_MFA`): staff without one reach only the page to set one up."""

from __future__ import annotations

from collections.abc import Callable

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

Handler = Callable[[HttpRequest], HttpResponse]
OPEN = ("/accounts/", "/static/", "/healthz", "/readyz", "/metrics")
"""What works without: signing in and out, and setting a factor up."""
SET = "has_second_factor"


def require_second_factor(get_response: Handler) -> Handler:
    """Send staff without a second factor to set one up, whatever they asked for."""

    def handle(request: HttpRequest) -> HttpResponse:
        if settings.REQUIRE_MFA and request.user.is_authenticated and not request.path_info.startswith(OPEN):
            factors = Authenticator.objects.filter(user=request.user).exclude(type=Authenticator.Type.RECOVERY_CODES)
            if not factors.exists():
                return redirect("mfa_index")
        return get_response(request)

    return handle
