"""One tree of errors; the type says who is to blame, the code is what scripts see.

P2PStoreError
├── CallerError          the request is wrong: do not repeat it as it is
│   ├── BadUrl  BadDigest  BadRequest  BadConfig  NameTaken  Cancelled
│   ├── NotFound         NotCached
│   └── AccessDenied     GateRefused
├── IntegrityError       bytes are not what they should be: nothing was published
│   └── DigestMismatch
├── OriginError          the origin, or the way to it
│   └── OriginUnreachable  OriginTimeout  OriginChanged  OriginBroken  OriginRefused  OriginBusy
├── DeadlineExceeded     the caller's own time ran out; the load goes on for others
├── NodeError            this machine
│   └── NoSpace  CacheUnusable  CacheLocked  Overloaded
├── ProtocolError        LocalProtocolError (our misuse)  RemoteProtocolError (the other side's)
├── AgentUnreachable
└── InternalError        a defect of p2pstore
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final


class P2PStoreError(Exception):
    """The root; `str()` is one line for people, `code` one word for scripts, `exit_code` for shells.

    `retryable` says whether the same request may succeed later by itself. `hint` is the next command or step to take.
    `details` holds plain values (URL, peers tried, expected and found digest) that travel with the error.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_wire(self) -> dict[str, Any]:
        """The error as plain values; `from_wire` makes it again."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "details": self.details,
        }


class CallerError(P2PStoreError):
    """The request itself is wrong."""

    code = "caller_error"
    exit_code = 2


class BadUrl(CallerError):
    """The URL can't be read, or its scheme is not served."""

    code = "bad_url"


class BadDigest(CallerError):
    """The digest can't be read."""

    code = "bad_digest"


class BadRequest(CallerError):
    """An argument is missing, unknown or out of range."""

    code = "bad_request"


class BadConfig(CallerError):
    """A configuration value is wrong or a field unknown."""

    code = "bad_config"


class NameTaken(CallerError):
    """A stored result of that name exists and replacing it was not asked for."""

    code = "name_taken"


class Cancelled(CallerError):
    """The caller cancelled this request; others that wait for the same load are not touched."""

    code = "cancelled"
    exit_code = 130


class NotFound(CallerError):
    """The origin says that there is no such thing, or no such name is stored."""

    code = "not_found"
    exit_code = 3


class NotCached(NotFound):
    """It is not in the cache and the caller asked not to go to the origin."""

    code = "not_cached"


class AccessDenied(CallerError):
    """The origin, or the rule about who owns an entry, says no."""

    code = "access_denied"
    exit_code = 4


class GateRefused(AccessDenied):
    """The gate refused the address behind a URL."""

    code = "gate_refused"


class IntegrityError(P2PStoreError):
    """Bytes are damaged; nothing was published or handed out."""

    code = "integrity"
    exit_code = 5


class DigestMismatch(IntegrityError):
    """A digest does not agree; `details` hold `algorithm`, `expected`, `found` and `who` (caller or origin)."""

    code = "digest_mismatch"


class OriginError(P2PStoreError):
    """The origin, or the way to it, failed."""

    code = "origin_error"
    exit_code = 6
    retryable = True


class OriginUnreachable(OriginError):
    """No connection: name resolution, routing, refusal or TLS."""

    code = "origin_unreachable"


class OriginTimeout(OriginError):
    """The origin was silent or slower than the minimum rate for too long."""

    code = "origin_timeout"


class OriginChanged(OriginError):
    """The file at the URL became another version while it was being read."""

    code = "origin_changed"


class OriginBroken(OriginError):
    """The origin's answer breaks HTTP or its own announcements (length, ranges)."""

    code = "origin_broken"


class OriginRefused(OriginError):
    """The origin answered with a status that means no (4xx other than 401, 403, 404, 410, 429)."""

    code = "origin_refused"
    retryable = False


class OriginBusy(OriginError):
    """The origin asks to come back later (429, 503); `details['retry_after_s']` when it said when."""

    code = "origin_busy"


class DeadlineExceeded(P2PStoreError):
    """The caller's own time ran out; what was waited for is in the message, and the load may go on."""

    code = "deadline"
    exit_code = 6
    retryable = True


class NodeError(P2PStoreError):
    """This machine can't do it now."""

    code = "node_error"


class NoSpace(NodeError):
    """Disk, inodes or quota are used up."""

    code = "no_space"
    exit_code = 8
    retryable = True


class CacheUnusable(NodeError):
    """The cache directory can't be used: format, permissions, read-only, I/O errors."""

    code = "cache_unusable"


class CacheLocked(NodeError):
    """Another agent owns the cache directory (sysexits EX_TEMPFAIL)."""

    code = "cache_locked"
    exit_code = 75


class Overloaded(NodeError):
    """A limit of the agent is reached; come back later."""

    code = "overloaded"
    retryable = True


class ProtocolError(P2PStoreError):
    """A frame on the socket can't be right."""

    code = "protocol"


class LocalProtocolError(ProtocolError):
    """We tried to send something that the protocol forbids."""

    code = "local_protocol"


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol forbids."""

    code = "remote_protocol"


class AgentUnreachable(P2PStoreError):
    """No agent answers on the socket."""

    code = "agent_unreachable"
    exit_code = 7
    retryable = True


class InternalError(P2PStoreError):
    """A defect of p2pstore; the agent's log has the trace."""

    code = "internal"


def _tree(cls: type[P2PStoreError]) -> dict[str, type[P2PStoreError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: Final = _tree(P2PStoreError)
"""Every error by its code, as documented in docs/reference/errors.md."""

EXIT_SOME_FAILED: Final = 9
"""Exit code when some of several requests failed and others did not."""


def from_wire(fields: Mapping[str, Any]) -> P2PStoreError:
    """The error that `to_wire` described; an unknown code (a newer agent's) becomes the root type."""
    cls = BY_CODE.get(str(fields.get("code")), P2PStoreError)
    details = fields.get("details")
    plain = {str(name): value for name, value in details.items()} if isinstance(details, Mapping) else {}
    plain.pop("hint", None)  # it has a place of its own
    return cls(str(fields.get("message", "")), hint=str(fields.get("hint", "")), **plain)
