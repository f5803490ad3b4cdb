"""The holder's side: its own rows, and what each home still has to be told of them. Pure.

A home is told the present state of what changed, not the changes, so news that is lost, late or twice does no harm. A batch counts as
told when the home acknowledges it; until then its names wait again, with growing pauses. A home that is new, restarted or in doubt gets
everything once more, by a cursor over the rows. When all is told, one number that stands for all rows is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from p2pstore.gossip.homes import Homes, gained
from p2pstore.gossip.links import (
    BULK_RETRY_S,
    MAX_DIRTY,
    MAX_DOUBLINGS,
    MAX_RETRY_S,
    RETRY_S,
    WINDOW,
    Batch,
    Link,
    take_back,
)
from p2pstore.gossip.row_messages import (
    ASK,
    DATAGRAM_BYTES,
    MAX_AGE_S,
    MAX_ROWS,
    OK,
    RESYNC,
    Ack,
    Announce,
    AnnouncedRow,
    Check,
    Send,
    encode,
    row_bytes,
)
from p2pstore.gossip.rows import (
    NAME_BYTES,
    RowState,
    RowTable,
    Value,
    fingerprint,
    identity_of,
    slot_of_name,
)
from p2pstore.types import NodeId

if TYPE_CHECKING:
    import random

COALESCE_S: Final = 0.1
"""News wait this long for company."""
URGENT_S: Final = 0.02
"""The same for a version that begins to come in: others are about to ask for it."""
BULK_BYTES: Final = 32 << 10
"""Most bytes of a batch that goes by a stream."""
BULK_ROWS: Final = 30
"""With more to tell than this, a stream is worth it."""
MAX_AWAY: Final = 1_000
"""Homes that are remembered while they are not members."""
AWAY_S: Final = 600.0
"""How long; who comes back later gets everything."""
CHECK_S: Final = 60.0
"""Time between checks of a home in a cluster of few members."""
CHECK_LARGE_S: Final = 600.0
"""The same in a large one, where each holder has many more homes to check."""
MAX_CHECKS_PER_S: Final = 5.0
"""Checks of one holder, whatever the number of members."""
ASKED_CHECK_S: Final = 1.0
"""Least time between checks that a home asks for."""
BURST_BYTES: Final = 256 << 10
"""What may be sent at once above the mean rate."""
PROGRESS_S: Final = 2.0
"""Least time between two announcements of how far a version has come in."""
MAX_PROGRESSING: Final = 4_096
"""Versions coming in whose progress is remembered."""
_HEAD_BYTES: Final = 40


class Announcer:
    """The rows of this node and the homes that are to know them.

    Memory is the packed rows, at most MAX_DIRTY names and WINDOW batches a home. Bytes sent are bounded by `rate_bytes_per_s`.
    """

    def __init__(
        self, me: NodeId, gen: int, *, homes: Homes, rate_bytes_per_s: float, rng: random.Random, now: float
    ) -> None:
        self.me, self.gen = me, gen
        self.table = RowTable()
        """The node's own rows; the writer's number is 0."""
        self.rver = 0
        """The highest number given to a row or a removal; it counts within a generation."""
        self.fingerprint = 0
        self._homes = homes
        self._rate = rate_bytes_per_s
        self._rng = rng
        self._level_bytes, self._filled_at = float(BURST_BYTES), now
        self._links: dict[NodeId, Link] = {}
        self._progress: dict[bytes, tuple[int, float]] = {}
        self._batches = 0

    def hold(self, name: bytes, value: Value, now: float) -> None:
        """This node holds a version to this extent; `value.rver` is ignored.

        Progress is announced when another quarter is there, and at most every PROGRESS_S; a new state at once.
        """
        old = self.table.get(name, 0)
        if old is not None and old.state == value.state and not self._worth_telling(name, old, value, now):
            return
        self._forget(name, old)
        if value.state == RowState.LOADING and len(self._progress) < MAX_PROGRESSING:
            self._progress[name] = (_quarter(value), now)
        self.rver += 1
        self.table.put(name, 0, value._replace(rver=self.rver))
        self.fingerprint ^= fingerprint(name, self.rver)
        urgent = value.state == RowState.LOADING and old is None
        self._touch(name, now + (URGENT_S if urgent else COALESCE_S))

    def drop(self, name: bytes, now: float) -> None:
        """This node holds nothing of a version any more; nothing happens when it did not."""
        old = self.table.get(name, 0)
        if old is None:
            return
        self._forget(name, old)
        self.table.remove(name, 0)
        self.rver += 1
        self._touch(name, now + COALESCE_S)

    def set_homes(self, homes: Homes, gens: Mapping[NodeId, int], now: float) -> None:
        """The members changed; `gens` has the generation of each. What is new to a home becomes due for it."""
        more = gained(self._homes, homes, self.table.slots())
        self._homes = homes
        for node, link in self._links.items():
            if link.live and node not in homes:
                take_back(link, link.flying.values())
                link.flying.clear()
                link.live, link.away_at = False, now
        self._forget_away(now)
        for node in homes.members:
            if node != self.me:
                self._see(node, gens.get(node, 0), more, now)

    def acked(self, home: NodeId, ack: Ack, now: float) -> None:
        """A home answered. Answers to batches that are not under way, or of another life of either side, change nothing."""
        link = self._links.get(home)
        if link is None or not link.live or ack.gen < link.gen:
            return
        if ack.gen > link.gen:
            link.start_over(ack.gen, now)
        elif ack.result == ASK:
            link.check_at = min(link.check_at, max(now, link.checked_at + ASKED_CHECK_S))
        elif ack.holder_gen == self.gen and (batch := link.flying.pop(ack.batch, None)) is not None:
            self._answered(link, batch, ack.result, now)

    def poll(self, now: float) -> list[Send]:
        """What is to be sent now, within the rate."""
        self._forget_away(now)
        self._level_bytes = min(self._level_bytes + max(now - self._filled_at, 0.0) * self._rate, BURST_BYTES)
        self._filled_at = now
        sends: list[Send] = []
        live = [(node, link) for node, link in self._links.items() if link.live]
        start = self._rng.randrange(len(live)) if live else 0  # or the first homes would use the rate up
        for node, link in live[start:] + live[:start]:
            self._expire(link, now)
            while self._level_bytes > 0 and link.next_at() <= now:
                message = self._next(node, link, now)
                if message is None:
                    break
                data = encode(message)
                self._level_bytes -= len(data)
                sends.append(Send(node, data))
        return sends

    def deadline(self) -> float | None:
        """When to poll again; None when there is nobody to tell."""
        at = min((link.next_at() for link in self._links.values() if link.live), default=float("inf"))
        if self._level_bytes <= 0:
            at = max(at, self._filled_at + (1 - self._level_bytes) / self._rate)
        return None if at == float("inf") else at

    def waiting(self, home: NodeId) -> bool:
        """Whether a home has not acknowledged everything yet."""
        link = self._links.get(home)
        return link is not None and bool(link.dirty or link.refill or link.flying)

    def check(self) -> None:
        """Assert the bounds and that the running numbers agree with the rows."""
        self.table.check()
        rows = [row for slot in self.table.slots() for row in self.table.of_slot(slot)]
        total = 0
        for name, writer, value in rows:
            assert writer == 0 and 0 < value.rver <= self.rver and value.state != RowState.GONE
            total ^= fingerprint(name, value.rver)
        assert total == self.fingerprint
        assert sum(1 for link in self._links.values() if not link.live) <= MAX_AWAY
        for link in self._links.values():
            assert len(link.dirty) <= MAX_DIRTY and len(link.flying) <= WINDOW
            assert link.live or not link.flying
        assert len(self._progress) <= MAX_PROGRESSING

    def _worth_telling(self, name: bytes, old: Value, value: Value, now: float) -> bool:
        if value.state != RowState.LOADING:
            return old._replace(rver=0) != value._replace(rver=0)
        quarter, told_at = self._progress.get(name, (_quarter(old), float("-inf")))
        further = _quarter(value) > quarter or (value.size_bytes < 0 and value.have_bytes > old.have_bytes)
        return (further or value.size_bytes != old.size_bytes) and now >= told_at + PROGRESS_S

    def _forget(self, name: bytes, old: Value | None) -> None:
        self._progress.pop(name, None)
        if old is not None:
            self.fingerprint ^= fingerprint(name, old.rver)

    def _touch(self, name: bytes, ready_at: float) -> None:
        slot = slot_of_name(name)
        homes: Iterable[NodeId] = self._links if self._homes.everywhere else self._homes.of_slot(slot)
        for node in homes:
            link = self._links.get(node)
            if link is None:
                continue  # this node itself
            if len(link.dirty) >= MAX_DIRTY:
                link.start_over(link.gen, link.refill_at)
            if not link.fails:
                link.ready_at = min(link.ready_at, ready_at) if link.dirty else ready_at
            link.dirty[name] = None

    def _see(self, node: NodeId, gen: int, more: Mapping[NodeId, frozenset[int] | None], now: float) -> None:
        link = self._links.get(node)
        if link is None or gen > link.gen:
            self._links[node] = link = Link(gen)
            link.start_over(gen, now)
            return
        if not link.live:
            link.live, link.fails, link.ready_at, link.check_at = True, 0, now, now
        slots = more.get(node)
        if slots is not None:  # a home of all slots kept what it was told before it went away
            link.start_over(link.gen, now, slots)

    def _answered(self, link: Link, batch: Batch, result: int, now: float) -> None:
        link.fails = 0
        if result == RESYNC:
            pause_s = min(2.0 ** min(link.resyncs, MAX_DOUBLINGS), CHECK_LARGE_S) if link.resyncs else 0.0
            link.resyncs += 1
            link.start_over(link.gen, now)
            link.refill_at = now + pause_s
        elif result == OK and batch.check:
            link.resyncs = 0
            link.check_at = now + self._check_interval_s() * (0.75 + 0.5 * self._rng.random())

    def _check_interval_s(self) -> float:
        if self._homes.everywhere:
            return CHECK_S
        return max(CHECK_LARGE_S, len(self._homes.members) / MAX_CHECKS_PER_S)

    def _expire(self, link: Link, now: float) -> None:
        """Batches without an answer in time: their names wait again."""
        late = [number for number, batch in link.flying.items() if batch.due <= now]
        if late:
            take_back(link, [link.flying.pop(number) for number in late])
            link.fails += 1
            link.ready_at = now

    def _next(self, node: NodeId, link: Link, now: float) -> Announce | Check | None:
        self._batches += 1
        if not (link.dirty or link.refill or link.flying):
            link.checked_at = now
            link.flying[self._batches] = Batch([], self._due(link, RETRY_S, now), check=True)
            count, print_ = self._sum_for(node)
            copies = 0 if self._homes.everywhere else self._homes.copies
            return Check(self.gen, self._batches, self.rver, count, print_, copies)
        message, bulk = self._announce(node, link, now)
        if message.rows or message.gone:
            names = [row.name for row in message.rows] + [name for name, _ in message.gone]
            due = self._due(link, BULK_RETRY_S if bulk else RETRY_S, now)
            link.flying[self._batches] = Batch(names, due)
            return message
        return None

    def _due(self, link: Link, first_s: float, now: float) -> float:
        return now + min(first_s * 2.0 ** min(link.fails, MAX_DOUBLINGS), MAX_RETRY_S)

    def _announce(self, node: NodeId, link: Link, now: float) -> tuple[Announce, bool]:
        """The next batch: what changed, then what is told once more, as much as fits."""
        bulk = len(link.dirty) + (self.table.count if link.refill else 0) > BULK_ROWS
        room = (BULK_BYTES if bulk else DATAGRAM_BYTES) - _HEAD_BYTES
        rows: list[AnnouncedRow] = []
        gone: list[tuple[bytes, int]] = []
        while link.dirty and link.ready_at <= now and room > 0 and len(rows) + len(gone) < MAX_ROWS:
            name = next(iter(link.dirty))
            value = self.table.get(name, 0)
            row = None if value is None else _announced(name, value, now)
            room -= NAME_BYTES + 13 if row is None else row_bytes(row)
            if room < 0:
                break
            del link.dirty[name]
            if row is None:
                gone.append((name, self.rver))
            else:
                rows.append(row)
        if link.refill is not None and link.refill_at <= now:
            self._refill(node, link, rows, min(room, BULK_BYTES), now, MAX_ROWS - len(gone))
        return Announce(self.gen, self._batches, tuple(rows), tuple(gone)), bulk

    def _refill(
        self, node: NodeId, link: Link, rows: list[AnnouncedRow], room: int, now: float, most: int
    ) -> None:
        refill = link.refill
        assert refill is not None, "nothing to be told once more"
        for slot in self.table.slots(refill.slot):
            if refill.slots is not None and slot not in refill.slots:
                continue
            if not self._homes.is_home(node, slot):
                continue
            for name, _, value in self.table.of_slot(slot, refill.after if slot == refill.slot else b""):
                row = _announced(name, value, now)
                room -= row_bytes(row)
                if room < 0 or len(rows) >= most:
                    return
                rows.append(row)
                refill.slot, refill.after = slot, identity_of(name, 0)
        link.refill = None

    def _sum_for(self, node: NodeId) -> tuple[int, int]:
        """How many rows a home is to have, and the number that stands for them."""
        if self._homes.everywhere:
            return self.table.count, self.fingerprint
        count = print_ = 0
        for slot in self.table.slots():
            if self._homes.is_home(node, slot):
                for name, _, value in self.table.of_slot(slot):
                    count, print_ = count + 1, print_ ^ fingerprint(name, value.rver)
        return count, print_

    def _forget_away(self, now: float) -> None:
        away = [(link.away_at, node) for node, link in self._links.items() if not link.live]
        away.sort()
        for index, (at, node) in enumerate(away):
            if now - at >= AWAY_S or len(away) - index > MAX_AWAY:
                del self._links[node]


def _announced(name: bytes, value: Value, now: float) -> AnnouncedRow:
    age_s = int(min(max(now - value.at, 0.0), MAX_AGE_S))
    return AnnouncedRow(name, value.rver, RowState(value.state), value.size_bytes, value.have_bytes, age_s)


def _quarter(value: Value) -> int:
    return value.have_bytes * 4 // value.size_bytes if value.size_bytes > 0 else 0
