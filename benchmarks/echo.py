"""The echo that round trips are compared with: an asyncio protocol on a unix socket, and nothing else.

The first four bytes of a request's payload say how long the answer shall be, so that frames are as long as those of the
agent in both directions.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from functools import cache


@cache
def _reply(size: int) -> bytes:
    return struct.pack(">I", size - 4) + bytes(size - 4)


class Echo(asyncio.Protocol):
    """Answers every frame."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet with an empty frame, as the agent greets."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._kept = b""
        transport.write(bytes(4))

    def data_received(self, data: bytes) -> None:
        """Answer the frames that are whole."""
        data = self._kept + data if self._kept else data
        position, replies = 0, []
        while len(data) - position >= 4:
            end = position + 4 + int.from_bytes(data[position : position + 4], "big")
            if end > len(data):
                break
            replies.append(_reply(int.from_bytes(data[position + 4 : position + 8], "big")))
            position = end
        self._kept = data[position:]
        if replies:
            self._transport.write(b"".join(replies))


async def main(path: str) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_unix_server(Echo, path)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
