from django.db import migrations

from canonical import triggers


class Migration(migrations.Migration):
    dependencies = [("canonical", "0002_initial")]
    operations = [
        triggers.refuse_function(),
        triggers.insert_only("canonical_transition"),
        triggers.insert_only("canonical_observation"),
    ]
