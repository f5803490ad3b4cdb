"""Get a file over the job socket, by descriptor, with the standard library alone: stdlib_client.py SOCKET URL"""

import hashlib
import os
import socket
import struct
import sys
from typing import Any

LONG = dict(zip(bytes.fromhex("c4c5c6d9dadbdcdddedf"), "bB bH bI sB sH sI aH aI mH mI".split(), strict=True))


def pack(value: Any) -> bytes:
    """As much MessagePack as requests need."""
    if isinstance(value, int):
        return b"\xce" + struct.pack(">I", value)
    if isinstance(value, str):
        return b"\xda" + struct.pack(">H", len(value.encode())) + value.encode()
    return bytes([0x80 | len(value)]) + b"".join(pack(key) + pack(item) for key, item in value.items())


def unpack(data: bytes, at: int) -> tuple[Any, int]:
    """One value, and where the next begins."""
    mark, at = data[at], at + 1
    if mark <= 0x7F or mark >= 0xE0:
        return (mark if mark <= 0x7F else mark - 256), at
    if mark in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[mark], at
    if 0xCA <= mark <= 0xD3:
        form = ">" + "fdBHIQbhiq"[mark - 0xCA]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    kind, size = ("s", mark & 31) if 0xA0 <= mark <= 0xBF else ("am"[mark < 0x90], mark & 15)
    if mark in LONG:
        kind, form = LONG[mark][0], ">" + LONG[mark][1]
        size, at = struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if kind in "sb":
        return (data[at : at + size].decode() if kind == "s" else data[at : at + size]), at + size
    items: list[Any] = []
    while len(items) < (size if kind == "a" else 2 * size):
        item, at = unpack(data, at)
        items.append(item)
    return (items if kind == "a" else dict(zip(items[::2], items[1::2], strict=True))), at


with socket.socket(socket.AF_UNIX) as agent:
    agent.connect(sys.argv[1])
    request = b"\x93" + pack(1) + pack("get") + pack({"url": sys.argv[2]})
    agent.sendall(struct.pack(">I", len(request)) + request)
    data, fds, answer = b"", list[int](), list[Any]()
    while answer[:2] not in ([1, 0], [1, 1], [0, 1]):  # the greeting comes first; events may come in between
        while len(data) < 4 or len(data) < 4 + struct.unpack_from(">I", data)[0]:
            more, came, _, _ = socket.recv_fds(agent, 65536, 1)
            data, fds = data + (more or sys.exit("the agent hung up")), fds + came
        answer, end = unpack(data, 4)
        data = data[end:]
if answer[1] != 0:
    sys.exit(f"{answer[2]['code']}: {answer[2]['message']}")
with os.fdopen(fds[0], "rb") as file:
    print(answer[2]["size"], hashlib.file_digest(file, "sha256").hexdigest())
