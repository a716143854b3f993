"""gunicorn's settings: `gunicorn -c python:hub.runtime.web hub.wsgi`. Loopback by default; a proxy faces the world."""

from __future__ import annotations

import os
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger

bind = os.environ.get("TIEOUT_BIND", "127.0.0.1:8000")
worker_class = "gthread"
workers = int(os.environ.get("TIEOUT_WEB_WORKERS", "2"))
threads = 4
timeout = 60
graceful_timeout = 10
# Against leaks only. A new worker costs seconds of a processor, which under load every renewal takes from requests.
max_requests = 50_000
max_requests_jitter = 10_000
control_socket_disable = True
preload_app = False


class OneStream(Logger):
    """gunicorn's messages through the root logger, so that they are formatted and cleaned like all others."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.propagate = True

    def _set_handler(self, *_: Any, **__: Any) -> None:
        """None of its own."""


logger_class = OneStream
