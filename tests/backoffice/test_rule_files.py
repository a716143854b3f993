"""Rules as files: by natural codes, checked before anything is written, drafts only, harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from connectors.models import Connection
from hub import roles, rulebook
from hub.admin.rule_files import AccountingRuleResource
from hub.models import AccountingRule, CodeMapping
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login

pytestmark = pytest.mark.django_db
HEAD = "what,source,source_code,target,target_code,valid_from,valid_to\n"


def upload(client: Any, content: str, model: str = "codemapping") -> Any:
    file = SimpleUploadedFile("rules.csv", content.encode(), "text/csv")
    return client.post(reverse(f"admin:hub_{model}_import"), {"import_file": file, "format": "0", "resource": "0"})


def confirm(client: Any, preview: Any, model: str = "codemapping") -> Any:
    form = preview.context["confirm_form"]
    return client.post(reverse(f"admin:hub_{model}_process_import"), form.initial)


def test_a_file_is_checked_first_and_then_becomes_drafts(login: Login, billing: Connection, erp: Connection) -> None:
    client = login(roles.FINANCE)
    preview = upload(
        client, HEAD + "product,billing,prod_1,erp,TEAM,2026-01-01,\ntax,billing,txr_1,erp,VAT19,2026-01-01,2026-12-31\n"
    )
    assert preview.status_code == 200
    assert CodeMapping.objects.count() == 0
    assert confirm(client, preview).status_code == 302
    made = CodeMapping.objects.get(what="tax")
    assert (made.source, made.target, made.target_code, made.state) == (billing, erp, "VAT19", "draft")
    assert made.drafted_by.username == "finance"


def test_a_mistake_is_reported_in_words_and_nothing_is_written(login: Login, billing: Connection, erp: Connection) -> None:
    lines = "product,elsewhere,prod_1,erp,TEAM,2026-01-01,\nproduct,billing,prod_2,erp,TEAM,2026-05-01,2026-01-01\n"
    page = upload(login(roles.FINANCE), HEAD + lines).content.decode()
    assert "there is no connection" in page
    assert "billing, erp" in page
    assert CodeMapping.objects.count() == 0


def test_a_changed_row_becomes_the_next_version_and_an_unchanged_one_nothing(
    login: Login, people: dict[str, User], billing: Connection, erp: Connection
) -> None:
    first, other = make.mapping(billing, erp, people[roles.FINANCE]), make.user("fiona", roles.FINANCE)
    same = make.mapping(billing, erp, people[roles.FINANCE], "prod_2")
    for row in (first, same):
        rulebook.approve(row, other)
    client = login(roles.FINANCE)
    preview = upload(client, HEAD + "product,billing,prod_1,erp,NEW,2027-01-01,\nproduct,billing,prod_2,erp,TEAM,2026-01-01,\n")
    confirm(client, preview)
    made = CodeMapping.objects.get(state="draft")
    assert (made.replaces, made.version, made.target_code) == (first, 2, "NEW")
    assert CodeMapping.objects.count() == 3


def test_whoever_imports_over_a_draft_is_its_maker(
    login: Login, people: dict[str, User], billing: Connection, erp: Connection
) -> None:
    draft, client = make.mapping(billing, erp, people[roles.FINANCE]), login(roles.ENGINEER)
    confirm(client, upload(client, HEAD + "product,billing,prod_1,erp,OTHER,2026-01-01,\n"))
    draft.refresh_from_db()
    assert (draft.target_code, draft.drafted_by) == ("OTHER", people[roles.ENGINEER])


def test_rules_name_products_by_their_id_in_billing_or_their_name(login: Login, billing: Connection) -> None:
    product = make.invoice(billing).lines.get().product
    assert product is not None
    make.ref(billing, "product", product.pk, "prod_9")
    head = ",".join(AccountingRuleResource.Meta.import_fields) + "\n"
    lines = 'de,prod_9,,,4400,3900,,,"{""team"": ""A""}",2026-01-01,\nde,Team plan,,DE,4410,,,,,2026-01-01,\n'
    client = login(roles.FINANCE)
    preview = upload(client, head + lines, "accountingrule")
    assert not preview.context["result"].has_errors(), [str(e.error) for r in preview.context["result"].rows for e in r.errors]
    confirm(client, preview, "accountingrule")
    assert {rule.product for rule in AccountingRule.objects.all()} == {product}
    assert AccountingRule.objects.get(region="").dimensions == {"team": "A"}
    bad = upload(client, head + "de,Unheard of,,,4400,,,,,2026-01-01,\n", "accountingrule").content.decode()
    assert "no product is called" in bad


def test_an_export_is_harmless_in_a_spreadsheet_and_comes_back_as_it_was(
    login: Login, people: dict[str, User], billing: Connection, erp: Connection
) -> None:
    evil = {"=1+1": "a", "+SUM(A1)": "b", "-2": "c", "@cmd": "d"}
    for code in evil:
        make.mapping(billing, erp, people[roles.FINANCE], code)
    answer = login(roles.AUDITOR).post(reverse("admin:hub_codemapping_export"), {"format": "0", "resource": "0", **SELECTED})
    text = answer.content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["source_code"] for row in rows} == {f"'{code}" for code in evil}
    assert {row["source"] for row in rows} == {"billing"}
    assert {row["drafted_by"] for row in rows} == {"finance"}
    client = login(roles.FINANCE)
    confirm(client, upload(client, text))
    assert {row.source_code for row in CodeMapping.objects.all()} == set(evil)


SELECTED = {
    f"mappingresource_{name}": "on"
    for name in (
        "what",
        "source",
        "source_code",
        "target",
        "target_code",
        "valid_from",
        "valid_to",
        "version",
        "state",
        "drafted_by",
    )
}


def test_who_may_not_draft_may_not_import(login: Login) -> None:
    for role in (roles.AUDITOR, roles.OPERATOR, roles.ADMINISTRATOR):
        assert upload(login(role), HEAD).status_code == 403
        assert login(role).post(reverse("admin:hub_codemapping_process_import"), {}).status_code == 403
