"""The back office: what finance reviewers, operators, engineers and auditors see and do. One module per concept."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin

from hub.admin import audit, business, connections, events, people, references, reviews, rules, runs, search

admin.site.site_title = admin.site.site_header = "Tieout"
admin.site.index_title = "Home"
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.extra_urls = search.urls  # type: ignore[attr-defined]  # the theme's hook for pages of our own

__all__ = ["audit", "business", "connections", "events", "people", "references", "reviews", "rules", "runs", "search"]
