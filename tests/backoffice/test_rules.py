"""Rules: maker and checker are two people, by the page and by the database; a version follows a version."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from connectors.models import Connection
from hub import roles, rulebook
from hub.booking import in_force
from hub.models import CodeMapping, ReviewItem, Step
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import page_url

pytestmark = pytest.mark.django_db


def press(client: Any, row: Any, button: str = "approve") -> str:
    url = reverse(f"admin:hub_{row._meta.model_name}_{button}", args=[row.pk])
    return str(client.post(url, follow=True).content.decode())


@pytest.fixture
def second(people: dict[str, User]) -> User:
    return make.user("fiona", roles.FINANCE)


@pytest.fixture
def draft(billing: Connection, erp: Connection, people: dict[str, User]) -> CodeMapping:
    return make.mapping(billing, erp, people[roles.FINANCE])


def test_who_drafted_does_not_approve(login: Login, draft: CodeMapping) -> None:
    client = login(roles.FINANCE)
    page = client.get(page_url(draft)).content.decode()
    assert "another person must approve it" in page
    assert "do/approve/" not in page
    assert "another person must approve it" in press(client, draft)
    draft.refresh_from_db()
    assert draft.state == "draft"


def test_the_database_refuses_it_too_even_for_a_superuser(draft: CodeMapping) -> None:
    with pytest.raises(IntegrityError, match="maker_is_not_checker"), transaction.atomic():
        CodeMapping.objects.filter(pk=draft.pk).update(approved_by=draft.drafted_by, state="active")
    with pytest.raises(IntegrityError, match="in_force_is_approved"), transaction.atomic():
        CodeMapping.objects.filter(pk=draft.pk).update(state="active")


def test_another_person_approves_and_what_waited_goes_on(
    client: Any, second: User, draft: CodeMapping, billing: Connection, erp: Connection
) -> None:
    item = make.question(
        "missing_mapping", what="product", source=billing.slug, source_code="prod_1", target=erp.slug, on="2026-11-01"
    )
    run = make.run(billing, make.invoice(billing))
    make.step(run, "book", "waiting", None, waiting_on=item)
    client.force_login(second)
    assert "do/approve/" in client.get(page_url(draft)).content.decode()
    page = press(client, draft)
    assert "in force from 2026-01-01. 1 waiting step goes on." in page
    draft.refresh_from_db()
    assert (draft.state, draft.approved_by) == ("active", second)
    assert Step.objects.get().state == "ready"
    assert ReviewItem.objects.get().answer == "healed"


def test_who_edits_a_draft_becomes_its_maker(client: Any, second: User, login: Login, draft: CodeMapping) -> None:
    client.force_login(second)
    data = {
        name: getattr(draft, f"{name}_id", None) or getattr(draft, name) for name in ("what", "source", "source_code", "target")
    }
    answer = client.post(page_url(draft), {**data, "target_code": "OTHER", "valid_from": "2026-01-01"})
    assert answer.status_code == 302, answer.context and answer.context["errors"]
    draft.refresh_from_db()
    assert (draft.target_code, draft.drafted_by) == ("OTHER", second)
    assert "another person must approve it" in press(client, draft)
    assert "Approved" in press(login(roles.FINANCE), draft)


def test_what_is_in_force_is_read_only(login: Login, client: Any, second: User, draft: CodeMapping) -> None:
    rulebook.approve(draft, second)
    finance = login(roles.FINANCE)
    assert 'name="target_code"' not in finance.get(page_url(draft)).content.decode()
    assert finance.post(page_url(draft), {"target_code": "X"}).status_code == 403
    assert finance.post(page_url(draft, "delete"), {"post": "yes"}).status_code == 403
    with pytest.raises(IntegrityError, match="draft a new version"), transaction.atomic():
        CodeMapping.objects.filter(pk=draft.pk).update(target_code="X")


def test_a_new_version_replaces_from_its_day_and_earlier_days_keep_the_old_one(
    login: Login, second: User, draft: CodeMapping
) -> None:
    rulebook.approve(draft, second)
    page = press(login(roles.FINANCE), draft, "draft_new_version")
    assert "Version 2 is a draft" in page
    following = CodeMapping.objects.get(version=2)
    assert (following.replaces, following.target_code, following.state) == (draft, "TEAM", "draft")
    CodeMapping.objects.filter(pk=following.pk).update(target_code="TEAM2", valid_from=date(2026, 12, 1))
    rulebook.approve(following, second)
    assert CodeMapping.objects.get(in_force(date(2026, 11, 30))) == draft
    assert CodeMapping.objects.get(in_force(date(2026, 12, 1))).target_code == "TEAM2"
    assert "TEAM2" in login(roles.AUDITOR).get(page_url(following)).content.decode()


def test_a_version_from_the_same_day_retires_the_old_one(people: dict[str, User], second: User, draft: CodeMapping) -> None:
    rulebook.approve(draft, second)
    following = rulebook.draft_new_version(draft, people[roles.FINANCE])
    CodeMapping.objects.filter(pk=following.pk).update(valid_from=draft.valid_from)
    rulebook.approve(following, second)
    draft.refresh_from_db()
    assert draft.state == "retired"
    assert CodeMapping.objects.get(in_force(timezone.now().date())) == following


def test_drafting_twice_gives_the_same_draft(people: dict[str, User], second: User, draft: CodeMapping) -> None:
    rulebook.approve(draft, second)
    first = rulebook.draft_new_version(draft, people[roles.FINANCE])
    assert rulebook.draft_new_version(draft, second) == first
    assert first.valid_from >= timezone.now().date() - timedelta(days=1)
    with pytest.raises(rulebook.NotApproved, match="draft itself"):
        rulebook.draft_new_version(first, second)
    rulebook.approve(first, second)
    with pytest.raises(rulebook.NotApproved, match="replaced it already"):
        rulebook.draft_new_version(draft, second)


def test_a_second_rule_for_what_is_in_force_is_refused_by_the_form(login: Login, second: User, draft: CodeMapping) -> None:
    rulebook.approve(draft, second)
    data = {"what": "product", "source": draft.source_id, "source_code": "prod_1", "target": draft.target_id}
    answer = login(roles.FINANCE).post(
        reverse("admin:hub_codemapping_add"), {**data, "target_code": "B", "valid_from": "2026-02-01"}
    )
    assert "draft a new version from it" in answer.content.decode()
    assert CodeMapping.objects.count() == 1


def test_an_engineer_drafts_mappings_and_approves_none(login: Login, draft: CodeMapping, billing: Connection) -> None:
    client = login(roles.ENGINEER)
    data = {"what": "tax", "source": billing.pk, "source_code": "txr_1", "target": draft.target_id}
    answer = client.post(reverse("admin:hub_codemapping_add"), {**data, "target_code": "VAT", "valid_from": "2026-02-01"})
    assert answer.status_code == 302
    assert CodeMapping.objects.get(what="tax").drafted_by.username == "integration"
    assert client.post(reverse("admin:hub_codemapping_approve", args=[draft.pk])).status_code == 403
    assert client.get(reverse("admin:hub_accountingrule_add")).status_code == 403


def test_the_history_shows_what_differed_and_who_did_it(login: Login, draft: CodeMapping) -> None:
    client = login(roles.FINANCE)
    data = {"what": "product", "source": draft.source_id, "source_code": "prod_1", "target": draft.target_id}
    client.post(page_url(draft), {**data, "target_code": "CHANGED", "valid_from": "2026-01-01"})
    page = client.get(page_url(draft, "history")).content.decode()
    assert "TEAM" in page
    assert "CHANGED" in page
    assert "finance" in page


def test_an_accounting_rule_is_approved_the_same_way(client: Any, second: User, people: dict[str, User]) -> None:
    rule = make.rule(people[roles.FINANCE])
    client.force_login(second)
    assert "Approved: in force from 2026-01-01" in press(client, rule)
    rule.refresh_from_db()
    assert rule.state == "active"
