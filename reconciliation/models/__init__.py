"""Scans of what the systems hold, what matched, what broke, how it is mended, and the closing of periods."""

from reconciliation.models.breaks import Break, BreakNote, Mend
from reconciliation.models.closing import PeriodClose
from reconciliation.models.rules import MendRule
from reconciliation.models.scans import Certificate, Match, ReadingRow, Scan

__all__ = ["Break", "BreakNote", "Certificate", "Match", "Mend", "MendRule", "PeriodClose", "ReadingRow", "Scan"]
