from typing import ClassVar

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

OUTCOME = """
    CREATE VIEW reconciliation_outcome AS
    SELECT reading_id, scan_id, pair, fate, rule, token FROM reconciliation_fate
    UNION ALL
    SELECT reading, scan_id, pair, 'matched', 'reference', l::text
    FROM reconciliation_keymatch, unnest("left", "right") AS agreed(l, r), LATERAL (VALUES (l), (r)) AS one(reading)
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reconciliation", "0003_mend_rules")]

    operations: ClassVar = [
        migrations.DeleteModel(name="Match"),
        migrations.CreateModel(
            name="Fate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("pair", models.CharField(max_length=40)),
                ("fate", models.CharField(help_text="matched, break, excused", max_length=10)),
                (
                    "rule",
                    models.CharField(help_text="what matched it, the type of its break, or why it is excused", max_length=40),
                ),
                ("token", models.TextField(blank=True)),
                (
                    "reading",
                    models.ForeignKey(
                        db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+",
                        to="reconciliation.readingrow",
                    ),
                ),
                (
                    "scan",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="fates", to="reconciliation.scan"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("scan", "reading"), name="one_fate_per_reading_and_scan")]
            },
        ),
        migrations.CreateModel(
            name="KeyMatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("pair", models.CharField(max_length=40)),
                ("left", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("right", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                (
                    "scan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="key_matches", to="reconciliation.scan"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Outcome",
            fields=[
                (
                    "reading",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.DO_NOTHING, primary_key=True, related_name="outcome", serialize=False,
                        to="reconciliation.readingrow",
                    ),
                ),
                ("pair", models.CharField(max_length=40)),
                ("fate", models.CharField(max_length=10)),
                ("rule", models.CharField(max_length=40)),
                ("token", models.TextField()),
                (
                    "scan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="reconciliation.scan"
                    ),
                ),
            ],
            options={"db_table": "reconciliation_outcome", "managed": False},
        ),
        migrations.RunSQL(
            'ALTER TABLE reconciliation_keymatch ALTER "left" SET STORAGE EXTERNAL, ALTER "right" SET STORAGE EXTERNAL',
            'ALTER TABLE reconciliation_keymatch ALTER "left" SET STORAGE EXTENDED, ALTER "right" SET STORAGE EXTENDED',
        ),
        migrations.RunSQL(OUTCOME, "DROP VIEW reconciliation_outcome"),
    ]  # fmt: skip
