"""What the twin's books answer besides records."""

from __future__ import annotations


class UserError(Exception):
    """Tryton says no, in words for people."""


class UserWarning(Exception):
    """Tryton asks first; (name, message)."""


class Missing(Exception):
    """No such record."""
