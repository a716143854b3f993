"""A reverse proxy with the faults of the twins, for what stands behind it is real and has none to order."""

from __future__ import annotations

from typing import Any

import requests

from connectors.sdk.twin import Answer, Asked, Twin

HOP_BY_HOP = {"host", "connection", "content-length", "accept-encoding", "transfer-encoding"}


class Proxy(Twin):
    """Hands every request on to `upstream`, one at a time; a fault strikes on the way back as it would at a twin."""

    vendor = "proxy"

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.upstream = upstream
        self.session = requests.Session()
        self.session.trust_env = False

    def handle(self, asked: Asked) -> Answer:
        """The upstream's own answer."""
        headers = {name: value for name, value in asked.headers.items() if name not in HOP_BY_HOP}
        answer = self.session.request(
            asked.method, self.upstream + asked.path, params=asked.query, data=asked.body, headers=headers, timeout=60,
            allow_redirects=False,
        )  # fmt: skip
        kept = {name: value for name, value in answer.headers.items() if name in ("Content-Type", "Retry-After")}
        return Answer(answer.status_code, answer.content, kept)

    def books(self) -> Any:
        """The upstream has its own."""
        return {}

    def reset(self) -> None:
        """Nothing is kept here."""

    def stop(self) -> None:
        super().stop()
        self.session.close()
