"""Serve the twin: `python -m connectors.vendors.zendesk.fake --port 8422 [--webhook URL --secret S]`."""

from __future__ import annotations

import argparse
import threading

from connectors.vendors.zendesk.fake import ZendeskTwin


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m connectors.vendors.zendesk.fake", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--email", default="", help="refuse every other agent")
    parser.add_argument("--api-token", default="", help="refuse every other token")
    parser.add_argument("--webhook", default="", help="where to deliver events")
    parser.add_argument("--secret", default="", help="what to sign them with")
    given = parser.parse_args()
    if given.webhook and not given.secret:
        parser.error("--webhook needs --secret")
    with ZendeskTwin(given.email, given.api_token).start(given.port) as twin:
        if given.webhook:
            twin.deliver_to(given.webhook, given.secret)
        print(twin.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
