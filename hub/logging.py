"""One log for the hub and its libraries: structured, correlated, and without secrets.

Every record, ours through structlog or a library's through `logging`, passes the same processors; the last one before
rendering is `redact`, so that a traceback or a library's message is cleaned like any other value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
SECRET_NAME = re.compile(
    r"passw(or)?d|secret|token|authorization|api[_-]?key|data[_-]?key|credential|cookie|signature|private[_-]?key", re.I
)
SECRET_VALUE = re.compile(
    r"\b[sr]k_(?:live|test)_\w+"
    r"|\bwhsec_[\w+/=-]+"
    r"|\b(?:Bearer|Basic)\s+[\w.~+/=-]{6,}"
    r"|(?<=://)[^\s:/@]*:[^\s/@]+(?=@)"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]+"
)


def clean(value: Any) -> Any:
    """`value` with everything that looks like a secret replaced, by name in mappings and by shape in text."""
    if isinstance(value, str):
        return SECRET_VALUE.sub(REDACTED, value)
    if isinstance(value, bytes):
        return clean(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {key: REDACTED if SECRET_NAME.search(str(key)) else clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return clean(str(value))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor around `clean`. Keys that begin with `_` are structlog's own and stay."""
    cleaned: EventDict = clean({key: value for key, value in event.items() if not key.startswith("_")})
    cleaned.update({key: value for key, value in event.items() if key.startswith("_")})
    return cleaned


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    structlog.processors.UnicodeDecoder(),
    redact,
]


def configure(level: str, style: str) -> dict[str, Any]:
    """Set structlog up and return Django's `LOGGING`. `style` is `json` (a machine reads it) or `console`."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Processor = structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "tieout": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "tieout"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django gives these two handlers of their own; one stream is enough.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # One line for each nudge would bury what matters; a run logs its own steps.
            "celery.beat": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "django_celery_beat": {"level": "WARNING"},
        },
    }
