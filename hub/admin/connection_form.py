"""The form of a connection. Secrets go in and never come out; settings are checked by the connector's own model."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html_join
from pydantic import BaseModel, SecretStr
from pydantic import ValidationError as Invalid
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from canonical.models import LegalEntity
from connectors import secrets
from connectors.models import Connection
from connectors.registry import CONNECTORS

CREDENTIAL = "credential_"
HINTED = 16
"""A secret shorter than this shows nothing of itself, not even its end."""


def problems(error: Invalid) -> list[str]:
    """What pydantic found, one sentence a field, without the values."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [f"{'.'.join(map(str, each['loc'])) or 'value'}: {each['msg'].removeprefix('Value error, ')}" for each in found]


def plain(value: Any) -> Any:
    """A credential as it is, out of pydantic's wrapping."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def stored_credentials(connection: Connection) -> dict[str, Any]:
    """What is sealed now; {} when nothing is, or when it cannot be opened (then everything has to be given again)."""
    try:
        model = connection.read_credentials()
    except (Invalid, secrets.Unreadable, LookupError):
        return {}
    return {name: plain(getattr(model, name)) for name in type(model).model_fields}


def hint(value: Any) -> str:
    """What may be shown of a secret."""
    if value in (None, ""):
        return "not set"
    return f"set, ••••{str(value)[-4:]}" if len(str(value)) >= HINTED else "set"


class Secret(forms.CharField):
    """Write-only: whatever was typed or stored is never rendered; empty means unchanged."""

    def __init__(self, state: str, **options: Any) -> None:
        attrs = {"autocomplete": "new-password", "placeholder": state, "spellcheck": "false"}
        super().__init__(required=False, widget=UnfoldAdminPasswordWidget(attrs=attrs, render_value=False), strip=True, **options)


def one_erp(connection: Connection, role: str, entity: LegalEntity | None) -> None:
    """An entity's books are kept in one place. Raises ValidationError; the database holds the same."""
    others = Connection.objects.filter(role="erp", legal_entity=entity).exclude(state="revoked").exclude(pk=connection.pk)
    if role == "erp" and entity is not None and connection.state != "revoked" and (other := others.first()):
        raise ValidationError({"legal_entity": f"{other} keeps the books of {entity} already: revoke it first."})


class NewConnectionForm(forms.ModelForm[Connection]):
    """The first step: which connector. Its settings and credentials are asked for next."""

    class Meta:
        model = Connection
        fields = ("connector", "slug", "title", "legal_entity")
        help_texts = {"slug": "Names the webhook address and binds the secrets: it cannot be changed later."}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        choices = sorted((spec.slug, f"{spec.title} ({spec.role})") for spec in CONNECTORS.values())
        self.fields["connector"] = forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("connector"):
            one_erp(self.instance, CONNECTORS[cleaned["connector"]].role, cleaned.get("legal_entity"))
        return cleaned


class ConnectionForm(forms.ModelForm[Connection]):
    """Settings, secrets and limits of a connection whose connector is known."""

    class Meta:
        model = Connection
        fields = ("title", "legal_entity", "settings", "quiet_seconds", "max_in_flight")
        help_texts = {"slug": "Names the webhook address and binds the secrets: it stays."}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.spec = self.instance.spec
        stored = stored_credentials(self.instance)
        for name, field in self.spec.credentials.model_fields.items():
            label = field.title or name.replace("_", " ").capitalize()
            self.fields[CREDENTIAL + name] = Secret(hint(stored.get(name)), label=label)
        if self.spec.verify is not None:
            self.fields["webhook_secret"] = Secret(_webhook_state(self.instance), label="Webhook secret")
            self.fields["webhook_secret"].help_text = "The secret before stays valid for 24 hours."
        if "settings" in self.fields:
            self.fields["settings"].widget = UnfoldAdminTextareaWidget(
                attrs={"rows": 8, "class": "tie-code", "spellcheck": "false"}
            )
            self.fields["settings"].help_text = describe(self.spec.settings)
            self.initial["settings"] = dict(self.instance.settings)
            self.fields["settings"].encoder = Indented  # type: ignore[attr-defined]

    def credential_names(self) -> list[str]:
        """The fields of the connector's credentials."""
        return [CREDENTIAL + name for name in self.spec.credentials.model_fields]

    def clean_settings(self) -> dict[str, Any]:
        given = self.cleaned_data["settings"] or {}
        if not isinstance(given, dict):
            raise ValidationError('Settings are an object: {"name": "value"}.')
        try:
            self.spec.settings.model_validate(given)
        except Invalid as error:
            raise ValidationError(problems(error)) from None
        return given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        given = {name.removeprefix(CREDENTIAL): cleaned[name] for name in self.credential_names() if cleaned.get(name)}
        if given:
            try:
                self.instance.set_credentials({**stored_credentials(self.instance), **given})
            except Invalid as error:
                for each in error.errors(include_input=False, include_url=False, include_context=False):
                    name = CREDENTIAL + str(each["loc"][0]) if each["loc"] else ""
                    self.add_error(name if name in self.fields else None, each["msg"])
        if cleaned.get("webhook_secret"):
            self.instance.set_webhook_secret(cleaned["webhook_secret"])
        one_erp(self.instance, self.spec.role, cleaned.get("legal_entity"))
        return cleaned


class Indented(json.JSONEncoder):
    """Settings as people edit them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


def _webhook_state(connection: Connection) -> str:
    try:
        live = connection.live_webhook_secrets()
    except secrets.Unreadable:
        return "cannot be read with today's keys: give it again"
    return hint(live[0]) + (f" ({len(live)} live)" if len(live) > 1 else "") if live else "not set"


def describe(model: type[BaseModel]) -> str:
    """The names a settings object may have, with defaults and meaning."""
    rows = []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
        rows.append((name, " · ".join(filter(None, (default, field.title, field.description)))))
    return format_html_join("", '<span class="tie-setting"><code>{}</code> {}</span>', rows)
