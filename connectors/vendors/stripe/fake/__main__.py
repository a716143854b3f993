"""Serve the twin: `python -m connectors.vendors.stripe.fake --port 8420 [--webhook URL --secret S]`."""

from __future__ import annotations

import argparse
import threading

from connectors.vendors.stripe.fake import StripeTwin


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m connectors.vendors.stripe.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--api-key", default="", help="refuse every other key")
    parser.add_argument("--webhook", default="", help="where to deliver events")
    parser.add_argument("--secret", default="", help="what to sign them with")
    parser.add_argument("--version", default="", help="API version of the webhooks' bodies")
    given = parser.parse_args()
    if given.webhook and not given.secret:
        parser.error("--webhook needs --secret")
    with StripeTwin(given.api_key).start(given.port) as twin:
        if given.webhook:
            twin.deliver_to(given.webhook, given.secret, version=given.version)
        print(twin.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
