"""`python -m hub.bench NAME… [--seconds N]`: measure on the database and broker of the environment, print rows as JSON.

Fills that database with whatever it takes: `manage.py bench` gives it one of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json

import django
from django.core.management import call_command


def main() -> None:
    """Bring the empty database up to date, and run the benches in order."""
    parser = argparse.ArgumentParser(prog="python -m hub.bench", description=__doc__)
    parser.add_argument("names", nargs="+", choices=["ingest", "engine", "workflow"])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--history", type=int, nargs="*", default=None, metavar="RUNS")
    given = parser.parse_args()
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    for name in given.names:
        options = {"history": given.history} if given.history and name == "workflow" else {}
        rows = importlib.import_module(f"hub.bench.{name}").run(given.seconds, **options)
        print(json.dumps([row.json() for row in rows]), flush=True)


if __name__ == "__main__":
    main()
