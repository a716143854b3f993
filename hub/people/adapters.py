"""What of django-allauth is ours: nobody signs up, and secrets of second factors are sealed like those of connections."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.http import HttpRequest

from connectors import secrets

BINDING = "second-factor"


class Accounts(DefaultAccountAdapter):  # type: ignore[misc]
    """Administrators make accounts."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class SecondFactors(DefaultMFAAdapter):  # type: ignore[misc]
    """Keys of authenticator apps and recovery codes, encrypted under TIEOUT_DATA_KEYS."""

    def encrypt(self, text: str) -> str:
        return secrets.seal(BINDING, text)

    def decrypt(self, encrypted_text: str) -> str:
        return str(secrets.unseal(BINDING, encrypted_text))
