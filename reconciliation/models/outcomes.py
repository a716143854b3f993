"""What became of the readings of a scan. Every reading is in exactly one row of the view `reconciliation_outcome`."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from reconciliation.models.scans import ReadingRow, Scan


class Fate(models.Model):
    """What became of one reading. What is one thing shares a `token`: of a break it is the break's fingerprint."""

    scan = models.ForeignKey(Scan, models.CASCADE, related_name="fates", db_index=False)
    reading = models.ForeignKey(ReadingRow, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False)
    pair = models.CharField(max_length=40)
    fate = models.CharField(max_length=10, help_text="matched, break, excused")
    rule = models.CharField(max_length=40, help_text="what matched it, the type of its break, or why it is excused")
    token = models.TextField(blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["scan", "reading"], name="one_fate_per_reading_and_scan"),)

    def __str__(self) -> str:
        return f"{self.pair} {self.reading_id}: {self.fate}, {self.rule}"


class KeyMatch(models.Model):
    """Pairs of readings that agree by the key they carry: `left[n]` is `right[n]`.

    One row per pair, currency and day: what agrees at once is nearly everything, and columns of ids take a hundredth of
    the time of a row for each.
    """

    scan = models.ForeignKey(Scan, models.CASCADE, related_name="key_matches")
    pair = models.CharField(max_length=40)
    left = ArrayField(models.BigIntegerField())
    right = ArrayField(models.BigIntegerField())

    def __str__(self) -> str:
        return f"{self.pair}: {len(self.left)} by their keys"


class Outcome(models.Model):
    """The view: a row per reading of a scan, whichever of the two it stands in."""

    reading = models.OneToOneField(ReadingRow, models.DO_NOTHING, primary_key=True, related_name="outcome")
    scan = models.ForeignKey(Scan, models.DO_NOTHING, related_name="+")
    pair = models.CharField(max_length=40)
    fate = models.CharField(max_length=10)
    rule = models.CharField(max_length=40)
    token = models.TextField()

    class Meta:
        managed = False
        db_table = "reconciliation_outcome"

    def __str__(self) -> str:
        return f"{self.pair} {self.reading_id}: {self.fate}, {self.rule}"
