"""Zendesk's twin: tickets in memory over HTTP, with audits, the export, webhooks, test time and faults.

`with ZendeskTwin() as twin:` serves it on loopback; `python -m connectors.vendors.zendesk.fake` does so from a shell.
What it answers has the shapes of Zendesk's published reference; `OMISSIONS` says where it stops.
"""

from connectors.vendors.zendesk.fake.server import OMISSIONS, ZendeskTwin
from connectors.vendors.zendesk.fake.store import FIELDS

__all__ = ["FIELDS", "OMISSIONS", "ZendeskTwin"]
