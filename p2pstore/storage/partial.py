"""One incomplete object: takes blocks of bytes at any offset, and writes, hashes and logs each in one hop of a worker thread.

A piece's line is logged after its bytes were written and never before. Everything public belongs to the loop thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import Final, Protocol

from p2pstore.errors import InternalError, P2PStoreError
from p2pstore.storage import faults, objects
from p2pstore.storage.blocks import Blocks
from p2pstore.storage.disk import DIGEST_BYTES
from p2pstore.storage.files import Files
from p2pstore.storage.threads import Pool
from p2pstore.storage.unfinished import Work
from p2pstore.swarm import pieces, tree
from p2pstore.swarm.block_size import BlockSize
from p2pstore.types import ByteRange, Draft, Root
from p2pstore.wire.records import encode_length, encode_piece

MAX_BLOCK_BYTES: Final = 2 << 20
"""As many pieces as fit are received, hashed and written in one go."""
MAX_UNIT_BYTES: Final = 1 << 20
"""A larger piece comes in several units; everybody gets one, however many load at once."""
BLOCKS_PER_STREAM: Final = 2
"""One is filled while the other is written."""

Grow = Callable[[Callable[[], None]], None]


class End(Protocol):
    """Puts a partial away: kept for another try, or removed."""

    async def __call__(self, partial: Partial, *, keep: bool) -> None:
        """Afterwards nobody works on it."""


class Partial:
    """An unfinished object that is being worked on; a `sources.base.Sink`. Made by `Store.begin`.

    `have` has a bit for each piece that is on disk and logged. `on_piece` is called on the loop for each further one.
    """

    def __init__(self, work: Work, files: Files, pool: Pool, blocks: Blocks, *, streams: int) -> None:
        self.work = work
        self.draft: Draft = work.draft
        self.length: int | None = work.log.length
        self.piece_bytes: int = work.log.header.piece_bytes
        self.block_bytes: int = MAX_BLOCK_BYTES
        self.unit_bytes: int = min(self.piece_bytes, MAX_UNIT_BYTES)
        """Blocks begin at a multiple of it, and only the object's last one does not end at one."""
        self.directory = f"part/{work.name}"
        self.path = f"{self.directory}/data"
        self.have = 0
        self.on_piece: Callable[[int], None] | None = None
        self.error: P2PStoreError | None = None
        self.on_error: Callable[[P2PStoreError], None] | None = None
        self.grow: Grow | None = None
        """Asks for more room when the length is unknown; set by the store."""
        self.on_end: End | None = None
        self._files = files
        self._pool = pool
        self._blocks = blocks
        self._max_taken = BLOCKS_PER_STREAM * streams
        self._size = BlockSize(self.unit_bytes, MAX_BLOCK_BYTES)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._parts: dict[int, dict[int, bytes]] = {}
        self._digests = bytearray()
        self._tail: tuple[int, bytes, int] | None = None
        self._taken = 0
        self._promised = 0
        self._growing = False
        self._writing = 0
        self._room_waiters: list[Callable[[], None]] = []
        self._is_queued = False
        self._idle: asyncio.Future[None] | None = None
        for index, digest in work.log.pieces.items():
            self._put_digest(index, digest)
            self.have |= 1 << index

    def fd(self) -> int:
        """A new read-only descriptor of the data file, the caller's; bytes of pieces not in `have` are zero or unfinished."""
        try:
            return self._files.open_read(self.path)
        except OSError as error:
            raise faults.translated(error, f"can't open {self.draft.url}") from error

    @property
    def have_bytes(self) -> int:
        """How many bytes the pieces in `have` hold."""
        if self.length is None:
            return self.have.bit_count() * self.piece_bytes
        count = pieces.piece_count(self.length, self.piece_bytes)
        short = count * self.piece_bytes - self.length if self.have >> (count - 1) & 1 else 0
        return self.have.bit_count() * self.piece_bytes - short

    def has(self, rng: ByteRange) -> bool:
        """Whether these bytes are on disk; bytes past a known end count as there."""
        end = rng.stop if self.length is None else self.length
        return pieces.has_all(self.have, *pieces.pieces_of(rng, end, self.piece_bytes))

    # blocks

    def take(self) -> memoryview | None:
        """A free block of at most `block_bytes`; None when there is none now. Raises what went wrong in writing."""
        if self.error is not None:
            raise self.error
        size = self._size.next_bytes
        if self._taken >= self._max_taken or not self._has_room(size):
            return None
        block = self._blocks.take(size, must=False)
        if block is None and not self._taken:
            block = self._blocks.take(self.unit_bytes, must=True)
        if block is None:
            if not self._is_queued:
                self._is_queued = True
                self._blocks.wait(self._shared_room)
            return None
        self._taken += 1
        self._promised += len(block)
        return block

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call back once, on the loop, when `take` may succeed again or has an error to raise."""
        self._room_waiters.append(callback)

    def give(self, offset: int, block: memoryview, size: int) -> None:
        """Hand over a block with `size` bytes for `offset`; it is used again when they are written.

        Offsets are multiples of `unit_bytes`, and so are sizes but for the object's last block.
        """
        if offset % self.unit_bytes or (size % self.unit_bytes and self.length not in (None, offset + size)):
            raise InternalError(f"bytes {offset} to {offset + size} are no whole units")
        self._size.filled(size, self._loop.time())
        self._writing += 1
        self._pool.submit(self._write, offset, block, size)

    def give_back(self, block: memoryview) -> None:
        """Hand back a block without bytes."""
        self._promised -= len(block)
        self._release(block)

    async def drain(self) -> None:
        """Wait until everything given is written; raises what went wrong."""
        await self._quiet()
        if self.error is not None:
            raise self.error

    async def _quiet(self) -> None:
        while self._writing or self._growing:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    def _check_quiet(self) -> None:
        if not self._writing and not self._growing and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def _has_room(self, size: int) -> bool:
        if self.length is not None or self._promised + size <= self.work.allocated_bytes:
            return True
        if not self._growing and self.grow is not None:
            self._growing = True
            self.grow(self._grown)
        return False

    def _grown(self) -> None:
        self._growing = False
        self._check_quiet()
        self._wake()

    def _shared_room(self) -> None:
        self._is_queued = False
        self._wake()

    def _release(self, block: memoryview) -> None:
        self._taken -= 1
        self._blocks.give_back(block)
        self._wake()

    def _wake(self) -> None:
        waiters, self._room_waiters = self._room_waiters, []
        for callback in waiters:
            callback()

    # writing

    def _write(self, offset: int, block: memoryview, size: int) -> None:
        """The worker's hop: hash, write, log."""
        done: list[int] = []
        error: P2PStoreError | None = None
        try:
            view = block if size == len(block) else block[:size]
            leaves = tree.leaves(view)
            # Writers of one file wait for each other in the kernel by spinning, which takes the core that another hashes on.
            with self._turn:
                self._files.pwrite(self.work.data_fd, view, offset)
            done = self._arrived(offset, size, leaves)
        except (OSError, sqlite3.Error) as failure:
            error = faults.translated(failure, f"can't write {self.draft.url}")
        # A hop must not end silently: whoever drains would wait for ever.
        except BaseException as failure:
            error = InternalError(f"writing {self.draft.url} failed: {failure!r}")
        try:
            self._loop.call_soon_threadsafe(self._written, block, done, error)
        except RuntimeError:
            # The loop has ended: what is logged is logged.
            return

    def _arrived(self, offset: int, size: int, leaves: list[bytes]) -> list[int]:
        """Note a written block; logs the pieces that are complete with it and returns their numbers."""
        each = self.unit_bytes // tree.LEAF_BYTES
        tops = [tree.top_of(leaves[at : at + each]) for at in range(0, len(leaves), each)]
        if self.length is None and size % self.unit_bytes:
            self._tail = ((offset + size) // self.piece_bytes, tops.pop(), size % self.unit_bytes)
        whole: list[tuple[int, bytes]] = []
        for at, top in zip(range(offset, offset + size, self.unit_bytes), tops, strict=False):
            index, start = divmod(at, self.piece_bytes)
            digest = top if self.piece_bytes == self.unit_bytes else self._part(index, start, top)
            if digest is not None:
                whole.append((index, digest))
        if whole:
            self._log(whole)
        return [index for index, _ in whole]

    def _part(self, index: int, start: int, top: bytes) -> bytes | None:
        """Note a written part of a large piece; the piece's digest when it was the last."""
        expected = min(self.piece_bytes, (self.length or 0) - index * self.piece_bytes)
        with self._lock:
            parts = self._parts.setdefault(index, {})
            parts[start] = top
            if len(parts) * self.unit_bytes < expected:
                return None
            del self._parts[index]
        return tree.top_of([parts[at] for at in sorted(parts)])

    def _log(self, whole: list[tuple[int, bytes]]) -> None:
        salt = self.work.log.salt
        self._files.write(
            self.work.log_fd, b"".join(encode_piece(index, digest, salt) for index, digest in whole)
        )
        with self._lock:
            for index, digest in whole:
                self._put_digest(index, digest)

    def _put_digest(self, index: int, digest: bytes) -> None:
        at = index * DIGEST_BYTES
        if len(self._digests) < at + DIGEST_BYTES:
            self._digests.extend(bytes(at + DIGEST_BYTES - len(self._digests)))
        self._digests[at : at + DIGEST_BYTES] = digest

    def _written(self, block: memoryview, done: list[int], error: P2PStoreError | None) -> None:
        self._writing -= 1
        if error is not None and self.error is None:
            self.error = error
            if self.on_error is not None:
                self.on_error(error)
        for index in done:
            self.have |= 1 << index
            if self.on_piece is not None:
                self.on_piece(index)
        self._release(block)
        self._check_quiet()

    # the end

    def finish_length(self, length: int) -> None:
        """The body ended after `length` bytes: now it is known. Everything given must have been written (`drain`)."""
        if self.length is not None or self._writing:
            raise InternalError("the length of an object is set once, after its last byte")
        self.length = length
        # Room was reserved ahead; whoever has the file open sees its end here, published or not.
        self._files.truncate(self.work.data_fd, length)
        if length % self.piece_bytes:
            index, digest, size = self._tail or (0, b"", 0)
            if index * self.piece_bytes + size != length:
                raise InternalError(f"the last block does not end at byte {length}")
            self._log([(index, digest)])
            self.have |= 1 << index
            if self.on_piece is not None:
                self.on_piece(index)
        self._files.write(self.work.log_fd, encode_length(length, self.work.log.salt))

    def nodes(self) -> list[bytes]:
        """The digests of all pieces, of the size that the length asks for."""
        if self.length is None or not pieces.has_all(
            self.have, 0, pieces.piece_count(self.length, self.piece_bytes)
        ):
            raise InternalError(f"{self.draft.url} is not complete")
        nodes = objects.nodes_of(bytes(self._digests))
        return tree.combine(nodes, max(pieces.piece_bytes(self.length) // self.piece_bytes, 1))

    def root(self) -> Root:
        """The name of the object; every piece must be there."""
        nodes = self.nodes()
        return objects.root_of_nodes(nodes, self.length or 0)

    async def discard(self) -> None:
        """Remove it: this version is not wanted any more."""
        await self._quiet()
        if self.on_end is not None:
            await self.on_end(self, keep=False)

    async def close(self) -> None:
        """Leave it for another try, if it can be resumed; does nothing after it was committed."""
        await self._quiet()
        if self.on_end is not None:
            await self.on_end(self, keep=True)
