"""What a `get` brought: the file by its descriptor, and everything the agent says of it."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from p2pstore.client.channel import unpacked
from p2pstore.errors import BadRequest


class Got:
    """A complete, verified file; it owns its descriptor until `close`, `detach` or the end of a `with` block.

    The descriptor stays good when the entry is evicted or replaced. Its offset is its own. Fields are decoded when one is first
    looked at: who only wants the bytes does not pay for them.
    """

    __slots__ = ("_body", "asked", "fd", "output")

    def __init__(self, body: dict[str, Any] | bytes, fd: int = -1, asked: str = "") -> None:
        self._body = body
        self.fd = fd
        """The read-only descriptor, -1 when there is none (any more)."""
        self.asked = asked
        """The URL as it was asked for."""
        self.output = ""
        """Where the file was delivered to; empty when no output was asked for."""

    @property
    def fields(self) -> dict[str, Any]:
        """Everything that the agent says, by the names of docs/reference/protocol.md."""
        if type(self._body) is bytes:
            self._body = unpacked(self._body)
        return self._body  # type: ignore[return-value]

    @property
    def url(self) -> str:
        """The canonical URL, without credentials."""
        return str(self.fields["url"])

    @property
    def key(self) -> str:
        """The name of the URL for this caller."""
        return str(self.fields["key"])

    @property
    def ver(self) -> str:
        """Which version of the file this is."""
        return str(self.fields["ver"])

    @property
    def root(self) -> str:
        """The name of these bytes."""
        return str(self.fields["root"])

    @property
    def size(self) -> int:
        """Length in bytes."""
        return int(self.fields["size"])

    @property
    def path(self) -> str:
        """Where the file lies in the cache; empty when this user can't read it there, or it is not kept."""
        return str(self.fields["path"])

    @property
    def private(self) -> bool:
        """Whether only this user may have it."""
        return bool(self.fields["private"])

    @property
    def stale(self) -> bool:
        """Whether it is past its lifetime and could not be checked with the origin."""
        return bool(self.fields["stale"])

    @property
    def why(self) -> str:
        """Why this copy was given, in words."""
        return str(self.fields["why"])

    @property
    def age_s(self) -> float:
        """Seconds since the origin generated or validated it."""
        return float(self.fields["age_s"])

    @property
    def verified(self) -> str:
        """`digest` or `transfer`: why the bytes are believed."""
        return str(self.fields["verified"])

    @property
    def seconds(self) -> float:
        """Time that the agent took."""
        return float(self.fields["seconds"])

    @property
    def bytes(self) -> dict[str, int]:
        """Where the bytes came from: `cache`, `peers`, `origin`; they sum to `size`."""
        return dict(self.fields["bytes"])

    @property
    def digests(self) -> dict[str, str]:
        """Digests computed from the bytes: algorithm to hexadecimal."""
        return dict(self.fields["digests"])

    @property
    def warnings(self) -> list[str]:
        """What the caller should know."""
        return list(self.fields["warnings"])

    @property
    def content_type(self) -> str:
        """The origin's Content-Type, or empty."""
        return str(self.fields["content_type"])

    def open(self) -> BinaryIO:
        """The bytes as a file object, which takes the descriptor over."""
        if self.fd < 0:
            raise BadRequest(
                f"there is no descriptor of {self.asked or 'this file'}", hint="it was closed or taken"
            )
        return os.fdopen(self.detach(), "rb")

    def detach(self) -> int:
        """Hand the descriptor to the caller; -1 when there is none."""
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        """Close the descriptor; harmless when there is none."""
        fd = self.fd
        if fd >= 0:
            self.fd = -1
            os.close(fd)

    def __enter__(self) -> Got:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Got {self.asked or self.url} size={self.size} fd={self.fd}>"
