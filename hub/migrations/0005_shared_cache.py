from django.db import migrations

TABLE = """
    CREATE UNLOGGED TABLE hub_cache (
        cache_key varchar(255) NOT NULL PRIMARY KEY, value text NOT NULL, expires timestamp with time zone NOT NULL
    );
    CREATE INDEX hub_cache_expires ON hub_cache (expires);
"""


class Migration(migrations.Migration):
    """The table of Django's database cache, as `createcachetable` makes it; unlogged, since losing it costs a few counts."""

    dependencies = [("hub", "0004_customer_mappings")]
    operations = [migrations.RunSQL(TABLE, "DROP TABLE hub_cache")]
