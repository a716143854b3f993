"""HTTP load over raw keep-alive sockets: the same few microseconds a request for every contestant."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from hub.runtime.servers import HOST

CLIENTS = 16
ATTEMPTS = 3
"""A server may hang up between two requests of a connection, as gunicorn does when it renews a worker."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a series of requests came to. Latencies in seconds, sorted."""

    seconds: float
    latencies: list[float]
    accepted: int

    def percentile(self, share: float) -> float:
        """Milliseconds within which that share of the requests was answered."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Wire:
    """One keep-alive connection that knows just enough HTTP."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def exchange(self, request: bytes) -> int:
        """Send a whole request, read the whole answer, return its status."""
        for attempt in range(ATTEMPTS):
            try:
                if self.socket is None:
                    self.socket = socket.create_connection((HOST, self.port), timeout=30)
                    self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket.sendall(request)
                return self._answer(self.socket)
            except ConnectionError:
                self.close()
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _answer(self, source: socket.socket) -> int:
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0:
            piece = source.recv(65536)
            if not piece:
                raise ConnectionResetError("hung up")
            got += piece
        head = got[:end].lower()
        if b"content-length:" not in head:
            raise ValueError(f"an answer without a length: {got!r}")
        missing = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]) - len(got)
        while missing > 0:
            missing -= len(source.recv(missing))
        if b"connection: close" in head:
            self.close()
        return int(got[9:12])

    def close(self) -> None:
        """Hang up; the next exchange connects again."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def answers(port: int) -> bool:
    """Whether an application answers there; the port alone is open before that."""
    link = HTTPConnection(HOST, port, timeout=5)
    try:
        link.request("GET", "/healthz")
        return link.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        link.close()


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A request on the wire; underscores in header names become dashes."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def closed(port: int, requests: Sequence[bytes], clients: int = CLIENTS) -> Load:
    """As fast as they are answered, by so many clients at once."""
    return _run(port, requests, clients, lambda number: 0.0)


def steady(port: int, requests: Sequence[bytes], rate: float, clients: int = 2 * CLIENTS) -> Load:
    """At a fixed rate, whatever the answers do. Latency counts from the moment a request was due."""
    return _run(port, requests, clients, lambda number: number / rate)


def _run(port: int, requests: Sequence[bytes], clients: int, due: Callable[[int], float]) -> Load:
    latencies: list[list[float]] = [[] for _ in range(clients)]
    accepted = [0] * clients
    failures: list[BaseException] = []
    started = time.perf_counter() + 0.05

    def client(mine: int) -> None:
        wire = Wire(port)
        try:
            for number in range(mine, len(requests), clients):
                begin = started + due(number)
                if (early := begin - time.perf_counter()) > 0:
                    time.sleep(early)
                elif begin == started:
                    begin = time.perf_counter()
                accepted[mine] += wire.exchange(requests[number]) in (200, 202)
                latencies[mine].append(time.perf_counter() - begin)
        except BaseException as failure:
            failures.append(failure)
        finally:
            wire.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Load(time.perf_counter() - started, sorted(latency for part in latencies for latency in part), sum(accepted))
