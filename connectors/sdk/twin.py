"""What every vendor twin shares: a threaded HTTP server on loopback, a test clock, and faults that can be armed.

A twin subclasses `Twin` and answers requests in `handle`; it is served by `start`, and steered over `/_twin/`:

| request | effect |
|---|---|
| POST /_twin/faults `{"fault": …, "match": "POST /v1/credit_notes", "times": 1}` | arm a fault |
| GET, DELETE /_twin/faults | the armed faults; disarm all and forget held requests |
| POST /_twin/land | commit the requests that `late_commit` holds back |
| GET /_twin/clock, POST `{"advance": seconds}` | the test time; move it on |
| GET /_twin/books | what the twin holds, as the vendor's own books |
| POST /_twin/reset | start again from nothing |

Faults: `drop_reply` (commit, then close the socket), `late_commit` (close the socket; commit after `seconds`, or at
`/_twin/land` when none are given), `status` (answer `status`, with `retry_after` when given, before anything happened,
or after the commit with `"after": true`), `slow` (wait `seconds`, commit, answer), `cut` (commit, answer half a body),
`garbage` (commit, answer 200 with a body nobody can read). `match` is a regular expression for the start of
"METHOD /path". Faults strike once unless `times` says more; `probability` with `seed` makes one random but repeatable,
and unlimited unless `times` is given.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: the path without its query, header names in lower case."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply; `body` is JSON unless the headers say otherwise."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, value: Any, **headers: str) -> Self:
        """An answer with `value` as JSON; underscores in header names become dashes."""
        return cls(status, orjson.dumps(value), {name.replace("_", "-"): text for name, text in headers.items()})


@dataclass(slots=True)
class Fault:
    """An armed fault; see the module for the fields."""

    fault: str
    match: str = ""
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    status: int = 500
    retry_after: str = ""
    seconds: float | None = None
    after: bool = False
    hits: int = 0
    kinds: ClassVar[tuple[str, ...]] = ("drop_reply", "late_commit", "status", "slow", "cut", "garbage")
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        if self.fault not in self.kinds:
            raise ValueError(f"no such fault: {self.fault!r}; there are {', '.join(self.kinds)}")
        if self.times is None and self.probability >= 1:
            self.times = 1
        self._random.seed(self.seed)

    def strikes(self, asked: Asked) -> bool:
        """True when it applies to this request, which uses it up by one."""
        if self.times is not None and self.hits >= self.times:
            return False
        if not re.match(self.match, f"{asked.method} {asked.path}") or self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True


class Clock:
    """Test time: the wall clock plus what has been added to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> int:
        """Unix seconds."""
        return int(time.time() + self.ahead)

    def advance(self, seconds: float) -> None:
        """Move on; time never goes back."""
        if seconds < 0:
            raise ValueError("test time does not go back")
        self.ahead += seconds


class Twin:
    """Base of the twins. `handle` runs under one lock, so no request ever sees half of another."""

    vendor = "twin"

    def __init__(self) -> None:
        self.clock = Clock()
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.held: list[Asked] = []
        self._server: _Server | None = None

    def handle(self, asked: Asked) -> Answer:
        """Answer one request of the vendor's API."""
        raise NotImplementedError

    def books(self) -> Any:
        """What the twin holds, for tests and the demo."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget everything the vendor would hold."""
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        """Move test time on; twins with timers run what is due."""
        self.clock.advance(seconds)

    def control(self, asked: Asked) -> Answer | None:
        """Further `/_twin/` requests of a twin; None when there is no such request."""
        return None

    # faults --------------------------------------------------------------------------------------------------

    def arm(self, fault: str, **options: Any) -> Fault:
        """Arm a fault; it strikes before those armed later. Raises ValueError or TypeError when there is no such."""
        armed = Fault(fault, **options)
        with self.lock:
            self.faults.append(armed)
        return armed

    def disarm(self) -> None:
        """No more faults, and requests held back never land."""
        with self.lock:
            self.faults.clear()
            self.held.clear()

    def land(self) -> int:
        """Commit the requests that `late_commit` holds back; returns how many."""
        with self.lock:
            held, self.held = self.held, []
            for asked in held:
                self.handle(asked)
        return len(held)

    def answer(self, asked: Asked) -> Answer | None:
        """The reply to a request with faults applied; None closes the connection."""
        if asked.path.startswith("/_twin/"):
            return self._control(asked)
        with self.lock:
            fault = next((f for f in self.faults if f.strikes(asked)), None)
            if fault is None:
                return self.handle(asked)
        return self._faulty(fault, asked)

    def refusal(self, status: int) -> Any:
        """The body the vendor sends with an error status; twins give it the vendor's shape."""
        return {"error": f"the twin was told to answer {status}"}

    def _faulty(self, fault: Fault, asked: Asked) -> Answer | None:
        if fault.fault == "status":
            if fault.after:
                self._handle(asked)
            extra = {"Retry_After": fault.retry_after} if fault.retry_after else {}
            return Answer.json(fault.status, self.refusal(fault.status), **extra)
        if fault.fault == "late_commit":
            self._hold(asked, fault.seconds)
            return None
        if fault.fault == "slow":
            time.sleep(fault.seconds or 0)
        answer = self._handle(asked)
        if fault.fault == "drop_reply":
            return None
        if fault.fault == "cut":
            return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers)
        if fault.fault == "garbage":
            return Answer(200, b"<html>upstream said nothing</html>", {"Content-Type": "text/html"})
        return answer

    def _handle(self, asked: Asked) -> Answer:
        with self.lock:
            return self.handle(asked)

    def _hold(self, asked: Asked, seconds: float | None) -> None:
        if seconds is None:
            with self.lock:
                self.held.append(asked)
            return
        timer = threading.Timer(seconds, self._handle, [asked])
        timer.daemon = True
        timer.start()

    def _control(self, asked: Asked) -> Answer:
        own = self.control(asked)
        if own is not None:
            return own
        given = json.loads(asked.body or b"{}")
        try:
            match asked.method, asked.path.removeprefix("/_twin/"):
                case "POST", "faults":
                    self.arm(**given)
                case "GET", "faults":
                    return Answer.json(200, [_shown(fault) for fault in self.faults])
                case "DELETE", "faults":
                    self.disarm()
                case "POST", "land":
                    return Answer.json(200, {"landed": self.land()})
                case "POST", "clock":
                    self.advance(float(given["advance"]))
                    return Answer.json(200, {"now": self.clock.now()})
                case "GET", "clock":
                    return Answer.json(200, {"now": self.clock.now()})
                case "GET", "books":
                    with self.lock:
                        return Answer.json(200, self.books())
                case "POST", "reset":
                    with self.lock:
                        self.disarm()
                        self.reset()
                case _:
                    return Answer.json(404, {"error": f"no {asked.method} {asked.path}"})
        except (ValueError, TypeError, KeyError) as error:
            return Answer.json(400, {"error": f"{type(error).__name__}: {error}"})
        return Answer.json(200, {"ok": True})

    # serving -------------------------------------------------------------------------------------------------

    def start(self, port: int = 0) -> Self:
        """Serve on loopback, on a free port unless one is given. Raises OSError when it is taken."""
        self._server = _Server(port, self.answer)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    @property
    def url(self) -> str:
        """Where it is served; raises RuntimeError when it is not."""
        if self._server is None:
            raise RuntimeError(f"the {self.vendor} twin is not started")
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Stop serving and close the connections that clients keep open. What it holds stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def __enter__(self) -> Self:
        return self if self._server else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _shown(fault: Fault) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in fault.__dataclass_fields__ if not name.startswith("_") and name != "kinds"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[Asked], Answer | None]) -> None:
        self.answer = answer
        self.open_sockets: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def hang_up(self) -> None:
        for connection in list(self.open_sockets):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open_sockets.add(self.connection)

    def finish(self) -> None:
        self.server.open_sockets.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = parse_qsl(parts.query, keep_blank_values=True)
        try:
            answer = self.server.answer(Asked(self.command, parts.path, query, headers, body))
        except Exception as error:
            # A defect of the twin must not look like a fault that a test has armed.
            traceback.print_exc()
            answer = Answer.json(500, {"error": f"the twin itself failed: {error!r}"})
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for name, value in ({"Content-Type": "application/json"} | dict(answer.headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:  # whoever asked for that and is not told so sends the next request into a closing connection
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the caller's timeline tells what was asked."""
