"""Zendesk's objects as its reference shows them, when they are new."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Obj = dict[str, Any]


def iso(at: int) -> str:
    """`2009-07-20T22:55:29Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def organization(external_id: int, at: int) -> Obj:
    """https://developer.zendesk.com/api-reference/ticketing/organizations/organizations/"""
    return {
        "url": f"/api/v2/organizations/{external_id}.json", "id": external_id, "name": "", "external_id": None,
        "details": None, "notes": None, "domain_names": [], "group_id": None, "shared_tickets": False,
        "shared_comments": False, "tags": [], "organization_fields": {}, "created_at": iso(at), "updated_at": iso(at),
    }  # fmt: skip


def user(external_id: int, at: int) -> Obj:
    """https://developer.zendesk.com/api-reference/ticketing/users/users/"""
    return {
        "url": f"/api/v2/users/{external_id}.json", "id": external_id, "name": "", "email": None, "external_id": None,
        "role": "end-user", "organization_id": None, "active": True, "verified": True, "suspended": False,
        "time_zone": "UTC", "locale": "en-US", "tags": [], "user_fields": {}, "created_at": iso(at), "updated_at": iso(at),
    }  # fmt: skip


def ticket(external_id: int, at: int) -> Obj:
    """https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/"""
    return {
        "url": f"/api/v2/tickets/{external_id}.json", "id": external_id, "external_id": None,
        "via": {"channel": "web", "source": {"from": {}, "to": {}, "rel": None}},
        "created_at": iso(at), "updated_at": iso(at), "generated_timestamp": at, "type": None, "subject": "",
        "raw_subject": "", "description": "", "priority": None, "status": "new", "recipient": None, "requester_id": None,
        "submitter_id": None, "assignee_id": None, "organization_id": None, "group_id": None, "collaborator_ids": [],
        "follower_ids": [], "email_cc_ids": [], "problem_id": None, "has_incidents": False, "is_public": True,
        "due_at": None, "tags": [], "custom_fields": [], "satisfaction_rating": None, "sharing_agreement_ids": [],
        "custom_status_id": None, "followup_ids": [], "brand_id": None, "allow_channelback": False,
        "allow_attachments": True, "from_messaging_channel": False,
    }  # fmt: skip


def audit(external_id: int, ticket_id: int, author: int, at: int) -> Obj:
    """https://developer.zendesk.com/api-reference/ticketing/tickets/ticket_audits/"""
    return {
        "id": external_id, "ticket_id": ticket_id, "created_at": iso(at), "author_id": author,
        "metadata": {"system": {}, "custom": {}}, "events": [],
        "via": {"channel": "web", "source": {"from": {}, "to": {}, "rel": None}},
    }  # fmt: skip


def comment(external_id: int, audit_id: int, author: int, body: str, public: bool) -> Obj:
    """The Comment event of an audit."""
    return {
        "id": external_id, "type": "Comment", "author_id": author, "body": body, "html_body": body, "plain_body": body,
        "public": public, "attachments": [], "audit_id": audit_id,
    }  # fmt: skip


def event(kind: str, subject: str, at: int, external_id: str, detail: Obj, change: Obj) -> Obj:
    """The body of a webhook; ids are strings and states are in capitals there."""
    return {
        "type": f"zen:event-type:{kind}", "account_id": 22129848, "subject": subject, "id": external_id,
        "time": f"{iso(at)[:-1]}.000000000Z", "zendesk_event_version": "2022-11-06", "event": change, "detail": detail,
    }  # fmt: skip


def ticket_detail(it: Obj, actor: int) -> Obj:
    """What an event tells of a ticket."""
    same = ("created_at", "updated_at", "description", "subject", "tags", "is_public", "external_id")
    ids = ("id", "organization_id", "requester_id", "submitter_id", "assignee_id", "group_id", "brand_id")
    return {
        **{name: it[name] for name in same},
        **{name: None if it[name] is None else str(it[name]) for name in ids},
        **{name: capital(it[name]) for name in ("status", "priority", "type")},
        "actor_id": str(actor), "custom_status": None, "form_id": None, "via": {"channel": it["via"]["channel"]},
    }  # fmt: skip


def organization_detail(it: Obj) -> Obj:
    """What an event tells of an organisation."""
    same = ("created_at", "updated_at", "name", "external_id", "shared_comments", "shared_tickets")
    return {**{name: it[name] for name in same}, "id": str(it["id"]), "group_id": None}


def capital(value: Any) -> Any:
    """States as events write them."""
    return value.upper() if isinstance(value, str) else value
