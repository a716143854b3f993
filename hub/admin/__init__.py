"""The back office: what finance reviewers, operators, engineers and auditors see and do. One module per concept."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin

from hub.admin import (
    audit,
    business,
    connections,
    credits,
    desk,
    events,
    hooks,
    people,
    policies,
    references,
    reviews,
    rules,
    runs,
    search,
)

admin.site.site_title = admin.site.site_header = "Tieout"
admin.site.index_title = "Home"
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
# The theme's hook for pages of our own.
admin.site.extra_urls = lambda: [*search.urls(), *desk.urls(), *(page for pages in hooks.PAGES for page in pages())]  # type: ignore[attr-defined]

__all__ = [
    "audit",
    "business",
    "connections",
    "credits",
    "desk",
    "events",
    "hooks",
    "people",
    "policies",
    "references",
    "reviews",
    "rules",
    "runs",
    "search",
]
