"""The twin's idempotency keys, errors and webhooks are those that Stripe documents."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
import requests
import stripe

from connectors.sdk.errors import Busy, Refused, Unknown
from connectors.vendors.stripe import CONNECTOR, conformance
from connectors.vendors.stripe.conformance import an_invoice
from connectors.vendors.stripe.fake import StripeTwin
from tests.connectors.sink import Sink
from tests.connectors.stripe_stories import call, ours, subscribe

SECRET = "whsec_not_a_real_secret"
BOTH = pytest.mark.parametrize("version", ["2025-03-31.basil", "2022-11-15"])

# idempotency -------------------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_answer(client: stripe.StripeClient) -> None:
    made = [client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k"}) for _ in range(2)]
    assert made[0].id == made[1].id
    assert len(client.v1.customers.list().data) == 1


def test_the_same_key_with_other_parameters_is_refused(client: stripe.StripeClient) -> None:
    client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "Other"}, {"idempotency_key": "k"})


def test_a_refusal_that_began_to_execute_is_repeated_and_a_failed_validation_is_not(
    twin: StripeTwin, client: stripe.StripeClient
) -> None:
    open_invoice = an_invoice(twin, paid=False)
    too_much = {"invoice": open_invoice, "amount": 999_999}
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            client.v1.credit_notes.create(too_much, {"idempotency_key": "too much"})  # type: ignore[arg-type]
    assert refused.value.headers["idempotent-replayed"] == "true"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.products.create({}, {"idempotency_key": "p"})  # type: ignore[typeddict-item]
    assert client.v1.products.create({"name": "Now with a name"}, {"idempotency_key": "p"}).id


def test_with_idempotency_off_the_same_key_creates_twice(twin: StripeTwin, client: stripe.StripeClient) -> None:
    requests.post(f"{twin.url}/_twin/idempotency", json={"honoured": False}, timeout=10)
    made = {client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k"}).id for _ in range(2)}
    assert len(made) == 2


def test_a_key_is_forgotten_after_a_day(twin: StripeTwin, client: stripe.StripeClient) -> None:
    first = client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k"}).id
    twin.advance(25 * 3600)
    assert client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k"}).id != first


@pytest.mark.parametrize(
    ("status", "error"), [(409, Busy), (402, Refused), (500, Unknown), (503, Unknown), (424, Unknown), (429, Busy)]
)
def test_a_failed_write_is_the_right_one_of_the_four(twin: StripeTwin, status: int, error: type[Exception]) -> None:
    request = conformance.balance(twin, "k")
    twin.arm("status", status=status)
    with pytest.raises(error) as raised:
        CONNECTOR.commands["adjust_balance"].run(ours(twin.url), request, call())
    assert status != 429 or getattr(raised.value, "throttled", False)


# webhooks ----------------------------------------------------------------------------------------------------


def kinds_of(sink: Sink) -> Counter[str]:
    return Counter(json.loads(delivery.body)["type"] for delivery in sink.deliveries)


def test_webhooks_pass_the_official_verification_and_ours(twin: StripeTwin, client: stripe.StripeClient, sink: Sink) -> None:
    twin.deliver_to(sink.url, SECRET)
    made = subscribe(client)
    assert twin.webhooks.wait_until_quiet()
    assert CONNECTOR.verify is not None
    assert CONNECTOR.envelope is not None
    for delivery in sink.deliveries:
        event = stripe.Webhook.construct_event(delivery.body, delivery.headers["stripe-signature"], SECRET)
        assert CONNECTOR.verify(delivery, [SECRET], datetime.now(UTC)) == 0
        assert CONNECTOR.envelope(delivery.body).external_id == event.id
    assert kinds_of(sink)["invoice.paid"] == 1
    listed = {event.id for event in client.v1.events.list({"limit": 100}).data}
    assert {json.loads(delivery.body)["id"] for delivery in sink.deliveries} == listed
    assert made.invoice in {json.loads(d.body)["data"]["object"].get("id") for d in sink.deliveries}


def test_a_refused_webhook_comes_again_when_its_time_has_come(twin: StripeTwin, client: stripe.StripeClient, sink: Sink) -> None:
    sink.refuse = 2
    twin.deliver_to(sink.url, SECRET)
    client.v1.products.create({"name": "Platform"})
    assert twin.webhooks.wait_until_quiet()
    assert (twin.webhooks.failed, sink.deliveries) == (1, [])
    for _ in range(2):
        twin.advance(7200)
        assert twin.webhooks.wait_until_quiet()
    assert kinds_of(sink) == {"product.created": 1}


def test_duplicates_are_delivered_twice_and_drops_never(twin: StripeTwin, client: stripe.StripeClient, sink: Sink) -> None:
    twin.deliver_to(sink.url, SECRET, duplicate=1.0)
    client.v1.products.create({"name": "Platform"})
    assert twin.webhooks.wait_until_quiet()
    assert kinds_of(sink) == {"product.created": 2}
    twin.deliver_to(sink.url, SECRET, drop=1.0)
    client.v1.products.create({"name": "Lost"})
    assert twin.webhooks.wait_until_quiet()
    assert (kinds_of(sink), twin.webhooks.dropped) == ({"product.created": 2}, 1)
    assert len(client.v1.events.list({"type": "product.created"}).data) == 2


def test_a_reordered_webhook_arrives_after_its_successor(twin: StripeTwin, client: stripe.StripeClient, sink: Sink) -> None:
    twin.deliver_to(sink.url, SECRET, reorder=1.0)
    client.v1.products.create({"name": "First"})
    assert twin.webhooks.endpoint is not None
    twin.webhooks.endpoint.reorder = 0
    client.v1.products.create({"name": "Second"})
    sink.wait_for(1)
    twin.advance(10)
    names = [json.loads(delivery.body)["data"]["object"]["name"] for delivery in sink.wait_for(2)]
    assert names == ["Second", "First"]


@BOTH
def test_webhooks_come_in_the_shape_of_their_endpoint(
    twin: StripeTwin, client: stripe.StripeClient, sink: Sink, version: str
) -> None:
    twin.deliver_to(sink.url, SECRET, version=version, kinds=("invoice.finalized",))
    subscribe(client)
    invoice = json.loads(sink.wait_for(1)[0].body)["data"]["object"]
    assert ("parent" in invoice) == (version > "2025")
