from django.db import migrations, models

OPEN = ["pending", "needs_info", "returned", "stopped", "approved", "posting", "posted", "mirrored", "told"]


class Migration(migrations.Migration):
    dependencies = [("credits", "0003_approvals_by_time")]
    operations = [
        migrations.AddIndex(
            model_name="credit",
            index=models.Index(
                fields=["state", "currency"],
                include=(
                    "id",
                    "total",
                    "waiting_role",
                    "made_by",
                    "edited_by",
                    "requested_by",
                    "approvals_needed",
                    "revision",
                    "legal_entity",
                ),
                condition=models.Q(state__in=OPEN),
                name="credits_open",
            ),
        ),
    ]
