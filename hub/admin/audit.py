"""The audit trail: who did what, as whom, why, and what changed. Read-only; an auditor takes it along with its proof."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path

from hub.admin_ui import Choices, ReadOnlyAdmin, is_uuid, when
from hub.audit import chain
from hub.audit.export import export
from hub.audit.models import AuditEntry

KINDS = (
    "credit",
    "creditpolicy",
    "approvalrule",
    "approverlimit",
    "slaterms",
    "accountingrule",
    "codemapping",
    "reviewitem",
    "user",
    "break",
    "mend",
    "periodclose",
    "scan",
)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """One entry of the trail."""

    change_list_template = "admin/tieout/audit_list.html"
    list_display = ("seq", when("at"), "actor", "action", "object_", "why_")
    list_display_links = ("seq", "action")
    list_filter = (Choices.of("object_kind", [(kind, kind) for kind in KINDS], "about"),)
    ordering = ("-seq",)
    search_fields = ("actor",)
    search_help_text = "User name, action, or correlation id"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = Q(correlation_id=term) if is_uuid(term) else Q(actor=term) | Q(action=term)
        return queryset.filter(wanted), False

    def get_urls(self) -> list[URLPattern]:
        own = path("export/", self.admin_site.admin_view(self.export_view), name="audit_export")
        return [own, *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponse | FileResponse:
        """The whole trail as a zip with the script that verifies it; the export itself is an entry."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("audit.export_auditentry"):
            return HttpResponse(status=403)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "audit"
            manifest = export(folder)
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(folder.iterdir()):
                    archive.write(file, f"audit/{file.name}")
        with transaction.atomic():
            chain.append("audit.exported", actor=request.user.get_username(), after=manifest, source="admin")
        packed.seek(0)
        return FileResponse(packed, as_attachment=True, filename=f"tieout-audit-{manifest['last']}.zip")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        may = request.user.has_perm("audit.export_auditentry")
        return super().changelist_view(request, {**(extra_context or {}), "may_export": may})

    @admin.display(description="object")
    def object_(self, obj: AuditEntry) -> str:
        return str(json.loads(obj.content).get("object") or "")

    @admin.display(description="why")
    def why_(self, obj: AuditEntry) -> str:
        said = json.loads(obj.content)
        return " · ".join(filter(None, [said.get("reason_code", "").replace("_", " "), said.get("note", "")]))[:120]

    def describe(self, request: HttpRequest, obj: AuditEntry) -> dict[str, Any]:
        said = json.loads(obj.content)
        words = {
            "role": "In the role", "on_behalf_of": "In place of", "policy": "By the rule", "reason_code": "Reason",
            "note": "Note", "source": "Asked for in",
        }  # fmt: skip
        facts = [("Who", obj.actor), ("Did", obj.action), ("When", obj.at), ("What it is about", said.get("object") or "")]
        facts += [(label, said[name]) for name, label in words.items() if said.get(name)]
        facts += [("Correlation id", obj.correlation_id or ""), ("Hash", obj.hash), ("Continues", obj.prev_hash)]
        names = sorted({*said["before"], *said["after"]})
        return {
            "facts": [fact for fact in facts if fact[1]],
            "texts": [
                (name.replace("_", " "), f"before: {_show(said['before'].get(name))}\nafter:  {_show(said['after'].get(name))}")
                for name in names
            ],
        }


def _show(value: Any) -> str:
    return "(nothing)" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
