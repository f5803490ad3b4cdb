"""One download in a simulated world: streams, failures, restarts and readers on a virtual clock, judged at every step.

A failing seed is printed with the command that runs it again; it then belongs in corpus.txt beside this file.
`P2PSTORE_SIM_SEED=N` runs that seed alone, `P2PSTORE_SIM_SEEDS=N` runs N seeds instead of the usual number.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from p2pstore.swarm.download import MAX_READERS, Download, Span, _Active
from p2pstore.swarm.pieces import bits, lowest, pieces_of
from p2pstore.types import ByteRange

SEEDS = int(os.environ.get("P2PSTORE_SIM_SEEDS", "240"))
BLOCKS = 8
ONE_SEED = os.environ.get("P2PSTORE_SIM_SEED")
CORPUS = Path(__file__).with_name("corpus.txt")
PIECE = 1000
TRACE_LINES = 12
IDLE_S = 0.3


class Broken(Exception):
    """An invariant does not hold."""


@dataclass
class Stream:
    """One connection to the origin: it asks for a span, receives piece after piece, and fails when it likes."""

    name: int
    rate: float
    span: Span | None = None
    position: int = 0
    receiving: int | None = None
    verifying: set[int] = field(default_factory=set)
    failing: bool = False


@dataclass
class Reader:
    name: int
    position: int
    waiting: ByteRange | None = None


class World:
    """Everything around the core: what a shell would do, with chance and time from the seed alone."""

    def __init__(self, seed: int, core: type[Download] = Download, keep_log: bool = True) -> None:
        self.rng = rng = random.Random(seed)
        self.core, self.keep_log = core, keep_log
        self.now = 0.0
        self.length = rng.choice([1, PIECE, *(rng.randrange(1, most * PIECE) for most in (40, 200, 300))])
        self.count = -(-self.length // PIECE)
        self.streams_wanted = rng.randrange(1, 7)
        self.request_pieces = rng.choice([1, 3, 8, 32, 32])
        self.failure_rate = rng.choice([0.0, 0.02, 0.2])
        self.restarts_left = rng.choice([0, 0, 1, 5])
        self.readers_left = rng.choice([0, 1, 8, 30])
        self.tells = rng.random() < 0.5
        """Whether streams tell what they have begun; those that don't are at most `ahead` pieces past the oldest."""
        self.ahead, self.hop_s = rng.choice([(2, 0.2), (6, 0.2), (12, 5.0)])
        self.log: set[int] = set()
        self.reader_names = itertools.count()
        self.serials = itertools.count()
        self.events: list[tuple[float, int, int, Callable[[], None]]] = []
        self.trace: list[str] = []
        self.epoch = self.steps = self.fetched = self.lost = 0
        self.start()

    def start(self) -> None:
        """A process starts: nothing survives but the log."""
        self.download = self.core(
            self.length,
            PIECE,
            have=self.logged() if self.keep_log else 0,
            streams=self.streams_wanted,
            request_bytes=self.request_pieces * PIECE,
            ahead_pieces=self.ahead,
        )
        self.streams = [
            Stream(name, self.rng.choice([100, 1000, 5000]) * (0.5 + self.rng.random()))
            for name in range(self.streams_wanted)
        ]
        self.readers: dict[int, Reader] = {}
        self.first_answer(self.streams[0])
        for stream in self.streams[1:]:
            self.later(self.rng.random(), partial(self.ask, stream))
        if self.readers_left:
            self.later(self.rng.random(), self.reader_comes)
        if self.restarts_left:
            self.later(self.rng.random() * self.count / 2, self.restart)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay_s, next(self.serials), self.epoch, action))

    def restart(self) -> None:
        self.note("restart")
        self.restarts_left -= 1
        self.epoch += 1
        for stream in self.streams:
            self.lost += len(stream.verifying) + (stream.receiving is not None)
        self.start()

    def ask(self, stream: Stream) -> None:
        free = self.unassigned()
        urgent = self.urgent(free)
        span = self.download.next_span()
        self.note(f"stream {stream.name} gets {span}")
        if span is None:
            self.expect(not free, "a free piece was not given out")
            if not self.download.done:
                self.later(IDLE_S, lambda: self.ask(stream))
            return
        self.expect(span.count <= self.request_pieces, "a span is too large")
        if urgent:
            self.expect(urgent >> span.first & 1 == 1, "a blocked reader's piece had to wait")
        self.take(stream, span)

    def first_answer(self, stream: Stream) -> None:
        """The answer that told the length brings the first missing pieces at once."""
        missing = lowest(self.unassigned())
        span = None if missing is None else self.download.claim(missing, self.rng.randrange(1, 10))
        self.note(f"stream {stream.name} claims {span}")
        if span is None:
            self.ask(stream)
        else:
            self.take(stream, span)

    def take(self, stream: Stream, span: Span) -> None:
        mask = bits(span.first, span.count)
        self.expect(span.count > 0 and mask >> self.count == 0, "a span is empty or past the end")
        self.expect(not mask & self.logged(), "what is there is asked for again")
        self.expect(not mask & self.owned(), "a piece is assigned twice")
        stream.span, stream.position = span, span.first
        self.begin(stream)

    def begin(self, stream: Stream) -> None:
        """The next piece of the span begins, or the span ends."""
        span = stream.span
        assert span is not None
        begun = stream.position - span.first + 1
        limit = self.download.span_limit(span, begun if self.tells else 0)
        stream.failing = stream.failing or self.rng.random() < self.failure_rate
        if begun > limit or stream.failing:
            return self.end(stream)
        stream.receiving = stream.position
        stream.position += 1
        self.fetched += 1
        self.expect(stream.receiving not in self.log, "what is there was fetched again")
        fetching = [index for one in self.streams for index in (one.receiving, *one.verifying)]
        self.expect(fetching.count(stream.receiving) == 1, "two streams fetch one piece")
        self.later(PIECE / stream.rate, lambda: self.received(stream))

    def received(self, stream: Stream) -> None:
        index = stream.receiving
        assert index is not None
        oldest = min(stream.verifying, default=index)
        if not self.tells and stream.position + 1 - oldest > self.ahead:
            return self.later(0.01, lambda: self.received(stream))
        stream.receiving = None
        stream.verifying.add(index)
        self.later(self.rng.random() * self.hop_s, lambda: self.verified(stream, index))
        self.begin(stream)

    def verified(self, stream: Stream, index: int) -> None:
        stream.verifying.discard(index)
        if self.rng.random() < self.failure_rate / 4:
            self.note(f"piece {index} is damaged")
            self.lost += 1
            stream.failing = True
        else:
            self.log.add(index)
            self.expect(self.download.piece_done(index), "a piece came in twice")
            self.note(f"piece {index} is there")
        for reader in list(self.readers.values()):
            if reader.waiting is not None and self.download.ready(reader.waiting):
                self.serve(reader)
        if stream.receiving is None and stream.span is not None:
            self.end(stream)

    def end(self, stream: Stream) -> None:
        if stream.span is None or stream.verifying:
            return  # the last verification ends it
        self.note(f"stream {stream.name} ends {stream.span}")
        self.download.span_ended(stream.span)
        stream.span, stream.failing = None, False
        self.later(self.rng.random() * 0.1, lambda: self.ask(stream))

    def reader_comes(self) -> None:
        self.readers_left -= 1
        reader = Reader(next(self.reader_names), self.rng.randrange(self.length))
        self.readers[reader.name] = reader
        self.read(reader)
        if self.readers_left:
            self.later(self.rng.random() * 3, self.reader_comes)

    def read(self, reader: Reader) -> None:
        if reader.name not in self.readers:
            return
        if self.rng.random() < 0.1 or reader.position >= self.length:
            return self.leave(reader)
        if self.rng.random() < 0.1:
            reader.position = self.rng.randrange(self.length)
        size = self.rng.choice([1, PIECE // 3, PIECE, 5 * PIECE])
        rng = ByteRange(reader.position, min(reader.position + size, self.length))
        there = self.download.wait_for(reader.name, rng)
        self.note(f"reader {reader.name} wants {rng}: {there}")
        reader.waiting = rng
        if there:
            self.serve(reader)
        elif self.rng.random() < 0.1:
            self.later(self.rng.random(), partial(self.leave, reader))

    def serve(self, reader: Reader) -> None:
        assert reader.waiting is not None
        read = bits(*pieces_of(reader.waiting, self.length, PIECE))
        self.expect(not read & ~self.logged(), "a reader saw a hole")
        reader.position, reader.waiting = reader.waiting.stop, None
        self.later(self.rng.random() * 0.5, lambda: self.read(reader))

    def leave(self, reader: Reader) -> None:
        if self.readers.pop(reader.name, None) is not None:
            self.note(f"reader {reader.name} leaves")
            self.download.forget(reader.name)

    def logged(self) -> int:
        """From here on the judge: it reckons with the world's own books, not with the core's."""
        return sum(1 << index for index in self.log)

    def owned(self) -> int:
        """Pieces that the streams still have to bring, by what each was told."""
        owned = 0
        for stream in self.streams:
            if stream.span is not None:
                stop = stream.span.first + self.download.span_limit(stream.span)
                mask = bits(stream.span.first, max(stop - stream.span.first, 0)) & ~self.logged()
                self.expect(not mask & owned, "a piece is assigned twice")
                owned |= mask
        return owned

    def unassigned(self) -> int:
        return bits(0, self.count) & ~self.logged() & ~self.owned()

    def urgent(self, free: int) -> int:
        """Pieces that blocked readers wait for, when one of those can be given out."""
        wanted = 0
        for reader in self.readers.values():
            if reader.waiting is not None:
                wanted |= bits(*pieces_of(reader.waiting, self.length, PIECE))
        return wanted & ~self.logged() if wanted & free else 0

    def expect(self, holds: bool, complaint: str) -> None:
        if not holds:
            raise Broken(complaint)

    def check(self) -> None:
        self.download.check()
        self.expect(self.download.have == self.logged(), "have is not what was logged")
        self.owned()
        self.expect(len(self.download._active) <= len(self.streams), "spans pile up")
        self.expect(len(self.download._readers) <= min(len(self.readers), MAX_READERS), "readers pile up")

    def note(self, line: str) -> None:
        self.trace.append(f"{self.now:.3f} {line}")

    def run(self) -> None:
        """Until nothing happens any more; then everything must be there."""
        bound = 2000 + 400 * self.count
        while self.events:
            self.now, _, epoch, action = heapq.heappop(self.events)
            if epoch != self.epoch:
                continue  # belongs to a process that is gone
            action()
            self.steps += 1
            self.check()
            self.expect(self.steps < bound, "it does not come to an end")
        self.expect(self.download.done and len(self.log) == self.count, "pieces are missing at the end")
        self.expect(self.fetched == self.count + self.lost, "more was fetched than was lost")
        self.expect(not any(reader.waiting for reader in self.readers.values()), "a reader is left waiting")


def simulate(seed: int, **switches: object) -> World:
    """Run one seed; a broken invariant fails with the seed, the way to run it again and what happened last."""
    world = World(seed, **switches)  # type: ignore[arg-type]
    try:
        world.run()
    except (Broken, AssertionError, ValueError, IndexError) as error:
        recent = "\n  ".join(world.trace[-TRACE_LINES:])
        again = f"P2PSTORE_SIM_SEED={seed} python -m pytest {Path(__file__).name}"
        raise Broken(f"seed {seed}, step {world.steps}: {error}\nagain: {again}\n  {recent}") from error
    return world


def corpus() -> list[int]:
    lines = (line.partition("#")[0] for line in CORPUS.read_text(encoding="utf-8").splitlines())
    return [int(line) for line in lines if line.strip()]


@pytest.mark.parametrize("seed", corpus())
def test_corpus(seed: int) -> None:
    simulate(seed)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_seeds(block: int) -> None:
    seeds = [int(ONE_SEED)] if ONE_SEED else range(block, SEEDS, BLOCKS)
    for seed in seeds:
        simulate(seed)


def test_one_seed_is_one_history() -> None:
    assert simulate(17).trace == simulate(17).trace
    assert simulate(17).trace != simulate(18).trace


class LosesFailedPieces(Download):
    def span_ended(self, span: Span) -> None:
        self._active.pop(span.number, None)


class FreesWhatIsDone(Download):
    def span_ended(self, span: Span) -> None:
        active = self._active.pop(span.number, None)
        if active is not None:
            self._free |= bits(active.first, active.stop - active.first)

    def check(self) -> None:
        """Leave finding it to the world."""


class IgnoresReaders(Download):
    def _urgent_piece(self) -> int | None:
        return None


class ForgetsNobody(Download):
    def forget(self, reader: int) -> None:
        pass


class TakesWhatHasBegun(Download):
    def _waiting_from(self, active: _Active) -> int:
        return active.first + 1


class IgnoresTheLead(Download):
    def _waiting_from(self, active: _Active) -> int:
        self._ahead_pieces = 1
        return super()._waiting_from(active)


class DoesNotTellTheOldStream(Download):
    def span_limit(self, span: Span, begun: int = 0) -> int:
        return span.count if super().span_limit(span, begun) else 0


class LooksAtTheFirstPieceOnly(Download):
    def wait_for(self, reader: int, rng: ByteRange) -> bool:
        super().wait_for(reader, rng)
        return self.ready(ByteRange(rng.start, rng.start + 1))


PLANTED = [LosesFailedPieces, FreesWhatIsDone, IgnoresReaders, ForgetsNobody, TakesWhatHasBegun]
PLANTED += [IgnoresTheLead, DoesNotTellTheOldStream, LooksAtTheFirstPieceOnly]


def first_caught(**switches: object) -> int | None:
    for seed in itertools.chain(corpus(), range(SEEDS)):
        try:
            simulate(seed, **switches)
        except Broken:
            return seed
    return None


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__)
def test_planted_bugs_are_caught(planted: type[Download]) -> None:
    assert first_caught(core=planted) is not None


def test_a_restart_without_its_log_is_caught() -> None:
    assert first_caught(keep_log=False) is not None


def test_a_failure_says_how_to_see_it_again() -> None:
    with pytest.raises(Broken, match=r"seed 9, step \d+: .*\n.*P2PSTORE_SIM_SEED=9 "):
        simulate(9, core=LosesFailedPieces)
