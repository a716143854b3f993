"""The audit trail in the back office: searched, read, and taken along with its proof."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from hub import roles
from hub.audit import chain
from hub.audit.models import AuditEntry
from tests.backoffice.conftest import Login

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def entry(people: dict[str, User]) -> AuditEntry:
    with transaction.atomic():
        chain.append(
            "credit.approved", actor="felix", obj=people[roles.FINANCE], role=roles.FINANCE, note="<script>x</script>",
            before={"state": "pending"}, after={"state": "approved"}, policy="creditpolicy:1/v2",
        )  # fmt: skip
    return AuditEntry.objects.latest("seq")


def test_an_entry_shows_who_did_what_and_what_changed(login: Login, entry: AuditEntry) -> None:
    client = login(roles.AUDITOR)
    listed = client.get("/admin/audit/auditentry/", {"q": "felix"}).content.decode()
    assert "credit.approved" in listed and "<script>x" not in listed
    assert "credit.approved" not in client.get("/admin/audit/auditentry/", {"q": "nobody"}).content.decode()
    page = client.get(f"/admin/audit/auditentry/{entry.pk}/change/").content.decode()
    for told in ("felix", "creditpolicy:1/v2", "before: pending", "after:  approved", entry.hash):
        assert told in page
    assert "<script>x" not in page


def test_an_auditor_takes_the_trail_along_and_can_check_it_anywhere(login: Login, tmp_path: Path) -> None:
    answer = login(roles.AUDITOR).post("/admin/audit/auditentry/export/")
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "audit"
    done = subprocess.run([sys.executable, "-I", folder / "verify_audit.py", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "unbroken")
    assert AuditEntry.objects.filter(action="audit.exported").count() == 1


@pytest.mark.parametrize("role", [roles.FINANCE, roles.OPERATOR, roles.ADMINISTRATOR, roles.AGENT])
def test_others_read_it_and_do_not_export_it(login: Login, role: str) -> None:
    client = login(role)
    assert "Export with proof" not in client.get("/admin/audit/auditentry/").content.decode()
    assert client.post("/admin/audit/auditentry/export/").status_code == 403
    assert client.get("/admin/audit/auditentry/export/").status_code == 405
