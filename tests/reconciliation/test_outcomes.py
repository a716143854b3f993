"""An auditor asks of one document what it was matched with in a scan, and by which rule."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from reconciliation.admin import outcomes
from reconciliation.models import Break
from tests.reconciliation import vendor
from tests.reconciliation.world import fill, scan


def test_a_document_shows_its_counterpart_or_its_break(books: dict[str, vendor.Books]) -> None:
    fill(3)
    books["erp"].drop("invoice", "002")
    done = scan()
    (matched,) = outcomes.of(done, "in_001")
    assert (matched.fate, matched.rule, len(matched.others)) == ("matched", "reference", 1)
    assert matched.others[0].startswith("erp: invoice")
    (seen_from_there,) = outcomes.of(done, "billing/in_001")
    assert seen_from_there.others[0].startswith("billing: invoice")
    (broken,) = outcomes.of(done, "in_002")
    assert (broken.fate, broken.rule, broken.others) == ("break", "missing right", ())
    assert broken.link.endswith(f"/{Break.objects.get().pk}/change/")
    assert outcomes.of(done, "in_999") == []
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:reconciliation_scan_change", args=[done.pk]), {"document": "in_001"})
    assert page.status_code == 200 and matched.others[0] in page.content.decode()
