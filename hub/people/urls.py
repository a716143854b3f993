"""The pages of django-allauth that are in use: signing in and out, confirming again, one's password and second factors."""

from typing import Any

from allauth.account import views
from django.http import Http404, HttpRequest
from django.urls import include, path


def closed(request: HttpRequest, **_: Any) -> Any:
    """Pages that allauth's own links name, and that this hub does not have."""
    raise Http404


urlpatterns = [
    path("login/", views.login, name="account_login"),
    path("logout/", views.logout, name="account_logout"),
    path("reauthenticate/", views.reauthenticate, name="account_reauthenticate"),
    path("password/", views.password_change, name="account_change_password"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("second-factor/", include("allauth.mfa.urls")),
    *(
        path(f"closed/{name}/", closed, name=f"account_{name}")
        for name in ("signup", "reset_password", "email", "set_password", "email_verification_sent")
    ),
]
