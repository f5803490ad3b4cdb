"""The home's side: the rows that other holders announced here. Pure.

Only a holder's own word enters a row, the higher number wins, and a newer generation of a holder puts an end to everything that an
older one said. Rows of holders that are not members are hidden at once and kept for a while, because most come back. What is hidden,
outlived or not for this home any more is taken out in small portions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from p2pstore.gossip.homes import Homes, slot_of
from p2pstore.gossip.row_messages import ASK, OK, RESYNC, Ack, Announce, AnnouncedRow, Check, Send, encode
from p2pstore.gossip.rows import (
    Row,
    RowState,
    RowTable,
    Value,
    fingerprint,
    identity_of,
    row_of,
    slot_of_name,
    whole_seconds,
)
from p2pstore.gossip.writers import NEVER, WARM_S, Writer, Writers
from p2pstore.types import Key, NodeId

MAX_ROWS: Final = 8_000_000
"""Rows of all holders here, about 80 bytes each; above it new ones are refused and counted."""
MAX_ROWS_PER_HOLDER: Final = 2_000_000
GONE_S: Final = 60.0
"""How long a removal is remembered, so that late news of the row does not bring it back."""
FOREIGN_S: Final = 60.0
"""How long rows of a slot are kept, and answered for, after this node ceased to be its home."""
SWEEP_S: Final = 0.1
"""Time between portions of a sweep."""
SWEEP_ROWS: Final = 4_096
"""Rows looked at in one portion, about four milliseconds."""


class HomeTable:
    """Rows of other holders at this node.

    `max_rows` and `max_rows_per_holder` bound the memory; each refused row is counted in `refused`.
    """

    def __init__(
        self,
        me: NodeId,
        gen: int,
        *,
        homes: Homes,
        max_rows: int = MAX_ROWS,
        max_rows_per_holder: int = MAX_ROWS_PER_HOLDER,
    ) -> None:
        self.table = RowTable()
        self.writers = Writers()
        self.refused = 0
        """Rows not taken because a bound was reached."""
        self._me, self._gen = me, gen
        self._max_rows, self._max_rows_per_holder = max_rows, max_rows_per_holder
        self._homes = homes
        self._homes_at = -NEVER
        self._warm_at = -NEVER
        self._gone = 0
        self._foreign = False
        self._sweep_slot = 0
        self._sweep_at = NEVER
        self._sweep_began_at = -NEVER

    def set_members(self, homes: Homes, members: Mapping[NodeId, tuple[int, bool]], now: float) -> None:
        """The members other than this node changed: their generation and whether they are suspected."""
        self.writers.set_members(members, now)
        if homes.members != self._homes.members:
            if not (homes.everywhere and self._homes.everywhere):
                self._foreign = True
                self._warm_at = now + WARM_S
                self._sweep_at = min(self._sweep_at, now + FOREIGN_S)
            self._homes_at = now
        self._homes = homes
        self._plan_sweep(now)

    def announced(self, holder: NodeId, message: Announce, now: float) -> Ack | None:
        """Take what a holder says of its rows; None when it is no member or an older generation, and nothing changed."""
        writer = self.writers.of(holder, message.gen, now)
        if writer is None:
            return None
        for row in message.rows:
            writer.rver = max(writer.rver, row.rver)
            self._take(writer, row, now)
        for name, rver in message.gone:
            writer.rver = max(writer.rver, rver)
            self._take_removal(writer, name, rver, now)
        self._plan_sweep(now)
        return Ack(self._gen, message.gen, message.batch, OK)

    def checked(self, holder: NodeId, message: Check, now: float) -> Ack | None:
        """Compare with all that a holder has announced here; None when newer rows came in since, which settles nothing.

        When it disagrees the holder's rows are forgotten at once, and it will send all of them.
        """
        writer = self.writers.of(holder, message.gen, now)
        if writer is None or writer.rver > message.rver:
            return None
        writer.copies = message.copies
        result = OK
        if (writer.rows, writer.fingerprint) == (message.count, message.fingerprint):
            writer.confirmed = True
            writer.overfull = False
        elif self._has_room_for(writer, message.count) and self._is_settled(now):
            self.writers.start_over(writer, now)
            result = RESYNC
        self._plan_sweep(now)
        return Ack(self._gen, message.gen, message.batch, result)

    def rows_of(self, key: Key) -> list[Row]:
        """The rows of a key whose holders are members, in order of version."""
        found = (self._row(*packed) for packed in self.table.of_key(bytes.fromhex(key)))
        return [row for row in found if row is not None]

    def rows_behind(self, after: bytes) -> Iterator[tuple[bytes, Row]]:
        """All visible rows with their identities, in order, from behind one; the table may change meanwhile.

        Takes as much memory as the fullest slot.
        """
        first = slot_of_name(after) if after else 0
        for slot in self.table.slots(first):
            for name, index, value in self.table.of_slot(slot, after if slot == first else b""):
                row = self._row(name, index, value)
                if row is not None:
                    yield identity_of(name, index), row

    def is_warm(self, now: float) -> bool:
        """Whether absence means something here: every holder had the time to announce, and nothing was refused."""
        return now >= self._warm_at and self.writers.is_warm(now)

    def is_home_of(self, key: Key) -> bool:
        """Whether this node keeps the rows of a key."""
        return self._homes.is_home(self._me, slot_of(key))

    def reach(self, now: float) -> int:
        """Below which rank among a key's homes absence means something here; 0 for nowhere.

        Nodes may disagree for a while, or by their settings, about the number of homes: who announces to three says nothing to a fourth.
        """
        if not self.is_warm(now):
            return 0
        fewest = self.writers.fewest_copies()
        return self._homes.copies if fewest is None else min(fewest, self._homes.copies)

    def is_within(self, reach: int, key: Key) -> bool:
        """Whether this node is among the first `reach` homes of a key."""
        if reach >= self._homes.copies:
            return self.is_home_of(key)
        return self._me in self._homes.of(key)[:reach]

    def poll(self, now: float) -> list[Send]:
        """Ask members that did not confirm their rows, and take a portion of outlived rows out."""
        if now >= self._sweep_at:
            self._sweep(now)
        ask = encode(Ack(self._gen, 0, 0, ASK))
        return [Send(node, ask) for node in self.writers.to_ask(now)]

    def deadline(self) -> float | None:
        """When to poll again; None when there is nothing to wait for."""
        at = min(self.writers.ask_at(), self._sweep_at)
        return None if at == NEVER else at

    def check(self) -> None:
        """Assert the bounds and that counts and fingerprints agree with the rows."""
        self.table.check()
        self.writers.check()
        assert self.table.count <= self._max_rows
        counts: dict[int, list[int]] = {}
        gone = 0
        for slot in self.table.slots():
            for name, index, value in self.table.of_slot(slot):
                mine = counts.setdefault(index, [0, 0, 0])
                mine[1] += 1
                if value.state == RowState.GONE:
                    gone += 1
                else:
                    mine[0] += 1
                    mine[2] ^= fingerprint(name, value.rver)
                assert value.rver <= self.writers.by_index(index).rver
        assert gone == self._gone
        for index, mine in counts.items():
            writer = self.writers.by_index(index)
            assert [writer.rows, writer.packed, writer.fingerprint] == mine
            assert writer.packed <= self._max_rows_per_holder

    def _take(self, writer: Writer, row: AnnouncedRow, now: float) -> None:
        old = self.table.get(row.name, writer.index)
        if old is None:
            if self._is_full(writer):
                self.refused += 1
                writer.overfull = True
                return
            writer.packed += 1
        elif old.rver >= row.rver:
            return
        else:
            self._uncount(writer, row.name, old)
        writer.rows += 1
        writer.fingerprint ^= fingerprint(row.name, row.rver)
        at = whole_seconds(now - row.age_s)
        self.table.put(row.name, writer.index, Value(row.rver, row.state, row.size_bytes, row.have_bytes, at))

    def _take_removal(self, writer: Writer, name: bytes, rver: int, now: float) -> None:
        old = self.table.get(name, writer.index)
        if old is None:
            if self._is_full(writer):
                return
            writer.packed += 1
        elif old.rver >= rver:
            return
        else:
            self._uncount(writer, name, old)
        self._gone += 1
        self.table.put(name, writer.index, Value(rver, RowState.GONE, -1, 0, whole_seconds(now)))

    def _uncount(self, writer: Writer, name: bytes, old: Value) -> None:
        if old.state == RowState.GONE:
            self._gone -= 1
        else:
            writer.rows -= 1
            writer.fingerprint ^= fingerprint(name, old.rver)

    def _is_full(self, writer: Writer) -> bool:
        return self.table.count >= self._max_rows or writer.packed >= self._max_rows_per_holder

    def _has_room_for(self, writer: Writer, count: int) -> bool:
        """Whether a holder may send all of its rows once more: not when they would be refused again."""
        if not writer.overfull:
            return True
        return count <= min(self._max_rows - self.table.count, self._max_rows_per_holder)

    def _is_settled(self, now: float) -> bool:
        """While rows of former slots may still be here, sums over all rows say little."""
        return (self._homes.everywhere and not self._foreign) or now >= self._homes_at + 2 * FOREIGN_S

    def _row(self, name: bytes, index: int, value: Value) -> Row | None:
        """A row that may be told: something is held, by a member, in the generation that counts."""
        writer = self.writers.by_index(index)
        if value.state == RowState.GONE or not self.writers.is_visible(writer):
            return None
        return row_of(name, value, writer.node, writer.gen, writer.heard_at)

    def _plan_sweep(self, now: float) -> None:
        """See to it that what can be taken out will be."""
        if self.writers.retired:
            self._sweep_at = min(self._sweep_at, now + SWEEP_S)
        elif self._gone:
            self._sweep_at = min(self._sweep_at, now + GONE_S)
        self._sweep_at = min(self._sweep_at, self.writers.hidden_until())

    def _sweep(self, now: float) -> None:
        self.writers.expire_hidden(now)
        if not self._sweep_slot:
            self._sweep_began_at = now
        keep = partial(self._keep, now)
        looked = 0
        for slot in self.table.slots(self._sweep_slot):
            if looked >= SWEEP_ROWS:
                self._sweep_slot = slot
                self._sweep_at = now + SWEEP_S
                return
            looked += self.table.sweep(slot, keep)
        self._sweep_slot = 0
        self._sweep_at = NEVER
        if self._foreign:
            self._foreign = self._sweep_began_at < self._homes_at + FOREIGN_S
            self._sweep_at = max(self._homes_at + FOREIGN_S, now + SWEEP_S) if self._foreign else NEVER
        self._plan_sweep(now)

    def _keep(self, now: float, name: bytes, index: int, value: Value) -> bool:
        writer = self.writers.by_index(index)
        if self.writers.counts(writer):
            if value.state == RowState.GONE:
                keep = now < value.at + GONE_S
            else:
                keep = now < self._homes_at + FOREIGN_S or self._homes.is_home(self._me, slot_of_name(name))
            if keep:
                return True
        self._uncount(writer, name, value)
        self.writers.swept(writer)
        return False
