from django.db import migrations

from canonical import triggers


class Migration(migrations.Migration):
    """Every credit passes through the open states: what it leaves in the index of those is cleared away before it slows the desk."""

    dependencies = [("credits", "0004_open_credits")]
    operations = [triggers.vacuum_early("credits_credit")]
