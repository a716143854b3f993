from django.db import migrations

from canonical import triggers


class Migration(migrations.Migration):
    dependencies = [("hub", "0001_initial"), ("canonical", "0003_facts")]
    operations = [
        triggers.insert_only("hub_inboxevent"),
        triggers.insert_only("hub_attempt"),
        triggers.in_force_is_immutable("hub_accountingrule"),
        triggers.in_force_is_immutable("hub_codemapping"),
        triggers.vacuum_early("hub_step"),
        triggers.vacuum_early("hub_run"),
    ]
