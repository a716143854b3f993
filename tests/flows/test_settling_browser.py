"""A partial outcome settled at the desk, in a real Chromium: which buttons there are, why others are not, the result."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from hub.credits import settling
from tests.backoffice.test_browser import Visitor, browse
from tests.flows.test_issue_to_credit import balance
from tests.flows.test_settling import REASON, refused_by_billing
from tests.support.credits import Crediting
from tests.support.time import work

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_credit_that_billing_refused_is_settled_as_balance_by_its_button(crediting: Crediting) -> None:
    credit = refused_by_billing(crediting)
    address = reverse("admin:desk_credit", args=[credit.pk])
    refused = {action.words: action.why_not for action in settling.allowed_actions(credit) if not action.allowed}
    client = Client()
    client.force_login(crediting.decider)

    def settle(visitor: Visitor) -> None:
        visitor.open(address)
        page = visitor.page
        buttons = page.locator("#desk-decision details:has(input[name=choice]) summary").all_inner_texts()
        assert buttons == ["Try again", "Settle as customer balance", "Take it back"]
        shown = page.locator("#desk-decision p:has(.desk-off)").all_inner_texts()
        assert sorted(shown) == sorted(f"{words}: {why}" for words, why in refused.items())
        page.click("summary:has-text('Settle as customer balance')")
        page.fill("#settle-as_balance", REASON)
        with page.expect_navigation():
            page.click("button:has-text('Settle as customer balance')")
        assert page.locator("text=goes on").count()

    browse(client, settle)
    work()
    credit.refresh_from_db()
    assert credit.invoice and (credit.state, balance(crediting, credit.invoice)) == ("closed", -1200)

    def look(visitor: Visitor) -> None:
        visitor.open(address)
        assert visitor.page.inner_text("#desk-state") == "reconciled"
        assert visitor.page.locator("#desk-decision button:has-text('Settle as customer balance')").count() == 0

    browse(client, look)
