"""A vendor that costs nothing: answers every POST with an id, over keep-alive connections, in one thread."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

from hub.runtime.servers import HOST

_numbers = itertools.count(1)


class Sink(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.got = transport, b""

    def data_received(self, data: bytes) -> None:
        self.got += data
        while (end := self.got.find(b"\r\n\r\n")) >= 0:
            length = int(self.got[:end].lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(self.got) < end + 4 + length:
                return
            self.got = self.got[end + 4 + length :]
            body = b'{"id": "doc-%d"}' % next(_numbers)
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )


async def serve() -> None:
    """Serve until our input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, HOST, 0)
    print(json.dumps({"base_url": f"http://{HOST}:{server.sockets[0].getsockname()[1]}"}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
