#!/usr/bin/env python3
"""The hub's command line. `manage.py up` runs everything; `manage.py help` lists the rest."""

import sys


def main() -> int:
    try:
        import django  # noqa: F401

        from hub.runtime.environment import prepared
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hub"):
            raise
        print(f"{error}. Run `make setup`, then use `.venv/bin/python manage.py`.", file=sys.stderr)
        return 1
    from django.core.management import execute_from_command_line

    from hub.config import ConfigError
    from hub.runtime.binaries import ServicesError

    try:
        with prepared(sys.argv):
            execute_from_command_line(sys.argv)
    except (ConfigError, ServicesError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
