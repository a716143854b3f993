"""The pages of reconciliation in the back office: breaks, scans, the close cockpit and the dashboard. One module per concept.

Django discovers this package after the hub's own, whose hooks it fills.
"""

from hub.admin import hooks, navigation
from reconciliation.admin import breaks, closes, dashboard, home, rules, scans, together

VIEW = "reconciliation.view_break"

hooks.PAGES += [closes.urls, dashboard.urls, together.urls]
hooks.CARDS.append((VIEW, home.TEMPLATE, home.card))
navigation.add(
    (
        "Reconciliation",
        (
            ("Breaks", "reconciliation.break", "difference"),
            ("Scans", "reconciliation.scan", "radar"),
            ("Close", "reconciliation_closes", "lock_clock"),
            ("Self-mending", "reconciliation.mendrule", "auto_fix_high"),
            ("Close tolerances", "reconciliation.closetolerance", "tune"),
            ("Dashboard", "reconciliation_dashboard", "monitoring"),
        ),
    ),
    after="Work",
    pages={"reconciliation_closes": closes.LOOK, "reconciliation_dashboard": VIEW},
    badges={"reconciliation.break": "reconciliation.admin.home.badge"},
)

__all__ = ["breaks", "closes", "dashboard", "home", "rules", "scans", "together"]
