"""`manage.py publish_schemas`: write the JSON Schemas of our language to docs/schema, for whoever reads what we send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from canonical.events import EVENTS
from canonical.types import OBJECTS, SCHEMA_VERSION

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """File name → schema, for every kind of object and for the names of events."""
    documents = {f"{kind}.v{SCHEMA_VERSION}.json": model.model_json_schema() for kind, model in OBJECTS.items()}
    names = [{"const": name, "description": told} for name, told in sorted(EVENTS.items())]
    documents[f"event_name.v{SCHEMA_VERSION}.json"] = {"title": "EventName", "type": "string", "oneOf": names}
    return {file: {"$schema": DIALECT, **schema} for file, schema in documents.items()}


def written(schema: dict[str, Any]) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class Command(BaseCommand):
    """Write what changed; files of kinds that are gone are left to whoever removes the kind."""

    help = "Write the JSON Schemas of the canonical types and event names to docs/schema"

    def handle(self, *args: Any, **options: Any) -> None:
        """Write all of them."""
        folder = Path(settings.BASE_DIR) / "docs" / "schema"
        folder.mkdir(parents=True, exist_ok=True)
        for file, schema in schemas().items():
            (folder / file).write_text(written(schema), encoding="utf-8")
        self.stdout.write(f"{len(schemas())} schemas in {folder.relative_to(settings.BASE_DIR)}")
