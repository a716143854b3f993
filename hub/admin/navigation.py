"""The navigation: work first, then the books, the rules, the systems, and people. Only what the user may see."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

Group = tuple[str, tuple[tuple[str, str, str], ...]]
"""A title, and its entries: name, model or page, icon."""

GROUPS: list[Group] = [
    (
        "Work",
        (
            ("Credits to decide", "desk", "rate_review"),
            ("To review", "hub.reviewitem", "inbox"),
            ("Runs", "hub.run", "timeline"),
            ("Events", "hub.inboxevent", "move_to_inbox"),
        ),
    ),
    (
        "Books",
        (
            ("Credits", "credits.credit", "redeem"),
            ("Invoices", "canonical.invoice", "receipt_long"),
            ("Credit memos", "canonical.creditmemo", "undo"),
            ("Payments", "canonical.payment", "payments"),
            ("Subscriptions", "canonical.subscription", "autorenew"),
            ("Customers", "canonical.party", "groups"),
            ("Products", "canonical.product", "inventory_2"),
            ("Prices", "canonical.price", "sell"),
        ),
    ),
    (
        "Rules",
        (
            ("Credit policies", "credits.creditpolicy", "policy"),
            ("SLA terms", "credits.slaterms", "timer"),
            ("Business hours", "credits.businesscalendar", "calendar_month"),
            ("Approval rules", "credits.approvalrule", "fact_check"),
            ("Approver limits", "credits.approverlimit", "speed"),
            ("Delegations", "credits.delegation", "supervisor_account"),
            ("Exchange rates", "credits.exchangerate", "currency_exchange"),
            ("Accounting rules", "hub.accountingrule", "rule"),
            ("Code mappings", "hub.codemapping", "swap_horiz"),
        ),
    ),
    (
        "Systems",
        (
            ("Connections", "connectors.connection", "hub"),
            ("Cross-references", "canonical.externalref", "link"),
            ("Observations", "canonical.observation", "visibility"),
            ("Refused deliveries", "hub.rejecteddelivery", "block"),
            ("Schedules", "django_celery_beat.periodictask", "schedule"),
        ),
    ),
    (
        "Organisation",
        (
            ("Legal entities", "canonical.legalentity", "domain"),
            ("Users", "auth.user", "person"),
            ("Roles", "auth.group", "badge"),
            ("Audit trail", "audit.auditentry", "history_edu"),
        ),
    ),
]
PAGES = {"desk": "credits.view_credit"}
"""Pages that are no list of a model, with the permission to see them."""
BADGES = {"hub.reviewitem": "hub.admin.home.to_review", "desk": "hub.admin.desk.badge"}


def add(group: Group, *, after: str, pages: dict[str, str], badges: dict[str, str]) -> None:
    """Put a group of an app above the hub behind the group `after`."""
    place = next(index for index, (title, _) in enumerate(GROUPS) if title == after)
    GROUPS.insert(place + 1, group)
    PAGES.update(pages)
    BADGES.update(badges)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups and links of the sidebar (unfold's SIDEBAR.navigation)."""
    home = {"title": "Home", "icon": "home", "link": reverse("admin:index")}
    shown: list[dict[str, Any]] = [{"title": "", "items": [home]}]
    for title, entries in GROUPS:
        items = [_item(name, label, icon) for name, label, icon in entries if _visible(request, label)]
        if items:
            shown.append({"title": title, "items": items})
    return shown


def _item(name: str, label: str, icon: str) -> dict[str, Any]:
    page = label if label in PAGES else f"{label.replace('.', '_')}_changelist"
    item = {"title": name, "icon": icon, "link": reverse(f"admin:{page}")}
    if label in BADGES:
        item["badge"] = BADGES[label]
    return item


def _visible(request: HttpRequest, label: str) -> bool:
    if label in PAGES:
        return request.user.has_perm(PAGES[label])
    app, model = label.split(".")
    return request.user.has_perm(f"{app}.view_{model}")
