"""Scans of what the systems hold, what matched, what broke, how it is mended, and the closing of periods."""

from reconciliation.models.breaks import Break, BreakNote, Mend
from reconciliation.models.closing import PeriodClose
from reconciliation.models.outcomes import Fate, KeyMatch, Outcome
from reconciliation.models.rules import CloseTolerance, MendRule
from reconciliation.models.scans import Certificate, ReadingRow, Scan

__all__ = [
    "Break",
    "BreakNote",
    "Certificate",
    "CloseTolerance",
    "Fate",
    "KeyMatch",
    "Mend",
    "MendRule",
    "Outcome",
    "PeriodClose",
    "ReadingRow",
    "Scan",
]
