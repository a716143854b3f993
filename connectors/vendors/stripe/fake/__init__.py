"""Stripe's twin: billing in memory over HTTP, with webhooks, test time and faults that can be armed.

`with StripeTwin() as twin:` serves it on loopback; `python -m connectors.vendors.stripe.fake` does so from a shell.
What it answers has the keys and JSON types of Stripe's published fixtures; `OMISSIONS` says where it stops.
"""

from connectors.vendors.stripe.fake.server import OMISSIONS, StripeTwin

__all__ = ["OMISSIONS", "StripeTwin"]
