"""Ask the agent on this node for a URL and get a verified file that is downloaded once.

    p2pstore.get(url, digest="sha256:...")    the path of the file, in the cache or where `output` says
    p2pstore.open(url)                        a seekable file object that can be read while it downloads
    p2pstore.fetch(url)                       the descriptor and all that is known of the file
    p2pstore.get_many(urls)                   many files, some at a time
    p2pstore.prefetch(urls)  wait(urls)       begin, and be told of the end
    p2pstore.put(name, path)                  store a result under a name
    p2pstore.stat  ls  rm  events  cancel     look, tidy, listen, take back
    p2pstore.Client  AsyncClient              the same as methods, blocking or for asyncio

Nothing is loaded before it is used. Floors, each importing only from those below it:

    __main__  cli      operators' commands
    daemon             puts an agent together
    api  client        the agent's door; what jobs import
    agent              the job: get, put, open, stage
    storage  sources   bytes at rest; bytes from origins
    swarm  cache  trust                       decisions without IO
    wire  config  types  errors               vocabulary
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from p2pstore.client.aio import AsyncClient as AsyncClient
    from p2pstore.client.default import cancel as cancel
    from p2pstore.client.default import events as events
    from p2pstore.client.default import fetch as fetch
    from p2pstore.client.default import get as get
    from p2pstore.client.default import get_many as get_many
    from p2pstore.client.default import ls as ls
    from p2pstore.client.default import open as open
    from p2pstore.client.default import prefetch as prefetch
    from p2pstore.client.default import put as put
    from p2pstore.client.default import rm as rm
    from p2pstore.client.default import stat as stat
    from p2pstore.client.default import wait as wait
    from p2pstore.client.got import Got as Got
    from p2pstore.client.sync import Client as Client
    from p2pstore.errors import AccessDenied as AccessDenied
    from p2pstore.errors import AgentUnreachable as AgentUnreachable
    from p2pstore.errors import BadConfig as BadConfig
    from p2pstore.errors import BadDigest as BadDigest
    from p2pstore.errors import BadRequest as BadRequest
    from p2pstore.errors import BadUrl as BadUrl
    from p2pstore.errors import CacheLocked as CacheLocked
    from p2pstore.errors import CacheUnusable as CacheUnusable
    from p2pstore.errors import CallerError as CallerError
    from p2pstore.errors import Cancelled as Cancelled
    from p2pstore.errors import DeadlineExceeded as DeadlineExceeded
    from p2pstore.errors import DigestMismatch as DigestMismatch
    from p2pstore.errors import GateRefused as GateRefused
    from p2pstore.errors import IntegrityError as IntegrityError
    from p2pstore.errors import InternalError as InternalError
    from p2pstore.errors import LocalProtocolError as LocalProtocolError
    from p2pstore.errors import NameTaken as NameTaken
    from p2pstore.errors import NodeError as NodeError
    from p2pstore.errors import NoSpace as NoSpace
    from p2pstore.errors import NotCached as NotCached
    from p2pstore.errors import NotFound as NotFound
    from p2pstore.errors import OriginBroken as OriginBroken
    from p2pstore.errors import OriginBusy as OriginBusy
    from p2pstore.errors import OriginChanged as OriginChanged
    from p2pstore.errors import OriginError as OriginError
    from p2pstore.errors import OriginRefused as OriginRefused
    from p2pstore.errors import OriginTimeout as OriginTimeout
    from p2pstore.errors import OriginUnreachable as OriginUnreachable
    from p2pstore.errors import Overloaded as Overloaded
    from p2pstore.errors import P2PStoreError as P2PStoreError
    from p2pstore.errors import ProtocolError as ProtocolError
    from p2pstore.errors import RemoteProtocolError as RemoteProtocolError

__version__: Final = "0.1.0"

_FUNCTIONS: Final = frozenset(
    {"cancel", "events", "fetch", "get", "get_many", "ls", "open", "prefetch", "put", "rm", "stat", "wait"}
)
_CLASSES: Final = {
    "AsyncClient": "p2pstore.client.aio",
    "Client": "p2pstore.client.sync",
    "Got": "p2pstore.client.got",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for (PEP 562); errors by their class names."""
    if name in _FUNCTIONS:
        value = getattr(import_module("p2pstore.client.default"), name)
    elif name in _CLASSES:
        value = getattr(import_module(_CLASSES[name]), name)
    elif name in (errors := _errors()):
        value = errors[name]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Everything that can be asked for."""
    return sorted({*globals(), *_FUNCTIONS, *_CLASSES, *_errors()})


def _errors() -> dict[str, Any]:
    return {error.__name__: error for error in import_module("p2pstore.errors").BY_CODE.values()}
