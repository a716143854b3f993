"""`python -m hub.bench NAME… [--seconds N] [--rows N…]`: measure on the database and broker of the environment, print rows as JSON.

Fills that database with whatever it takes: `manage.py bench` gives it one of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
from typing import Any

import django
from django.core.management import call_command

from hub.bench import BENCHES


def main() -> None:
    """Bring the empty database up to date, and run the benches in order."""
    django.setup()
    parser = argparse.ArgumentParser(prog="python -m hub.bench", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[*BENCHES])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--history", type=int, nargs="*", default=None, metavar="RUNS")
    parser.add_argument("--credits", type=int, default=None)
    parser.add_argument("--rows", type=int, nargs="*", default=None, metavar="N")
    given = parser.parse_args()
    call_command("migrate", interactive=False, verbosity=0)
    for name in given.names:
        offered = {"workflow": {"history": given.history}, "desk": {"credits": given.credits}, "reconcile": {"rows": given.rows}}
        options: dict[str, Any] = {option: value for option, value in offered.get(name, {}).items() if value}
        rows = importlib.import_module(BENCHES[name]).run(given.seconds, **options)
        print(json.dumps([row.json() for row in rows]), flush=True)


if __name__ == "__main__":
    main()
