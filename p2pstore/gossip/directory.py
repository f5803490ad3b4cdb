"""The directory of who holds what, as one node sees it: what it holds, what it keeps for others, what it asks others. Pure.

Calls and messages come in, `Send` and `Found` go out. Nothing here is an authority: a row that turns out to be wrong costs one probe
and is not told again, and a lookup that finds nothing costs a way to the origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2pstore.errors import BadRequest, RemoteProtocolError
from p2pstore.gossip.announcing import Announcer
from p2pstore.gossip.home_table import MAX_ROWS, MAX_ROWS_PER_HOLDER, HomeTable
from p2pstore.gossip.homes import COPIES, FULL_UP_TO, Homes
from p2pstore.gossip.inventory import Completeness, Missing
from p2pstore.gossip.lookups import Answer, Found, Lookups, answer_of
from p2pstore.gossip.row_messages import (
    DATAGRAM_BYTES,
    MAX_AGE_S,
    MAX_HOLDERS,
    Ack,
    Announce,
    Check,
    Locate,
    Located,
    Send,
    Told,
    ToldRow,
    decode,
    encode,
    told_bytes,
)
from p2pstore.gossip.rows import (
    MAX_SIZE_BYTES,
    Row,
    RowState,
    Value,
    identity_of,
    key_of,
    name_of,
    row_of,
    slot_of_name,
    whole_seconds,
)
from p2pstore.types import Key, NodeId, Version

if TYPE_CHECKING:
    import random

MAX_LOCATED: Final = 4_096
"""Keys of one `locate`."""
MAX_PAGE: Final = 10_000
"""Rows of one page, and rows looked at for one."""
RATE_BYTES_PER_S: Final = 2_000_000
"""What a node announces at most: 10,000 rows to each of 15 homes within five seconds."""
MAX_DISPROVED: Final = 10_000
"""Rows that were found to be wrong and are remembered; of more, the oldest are forgotten and may cost another probe."""
_WRITER_OF_ME: Final = 65_535
"""Orders this node's own rows behind those of others with the same name."""

Decision = Send | Found


@dataclass(frozen=True, slots=True)
class LiveMember:
    """A member that is alive or suspected; those that are dead or left are not given."""

    node: NodeId
    gen: int
    """Its generation, which rises with each start of it."""
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """How many homes, how fast and how much."""

    copies: int = COPIES
    full_up_to: int = FULL_UP_TO
    rate_bytes_per_s: float = RATE_BYTES_PER_S
    max_rows: int = MAX_ROWS
    max_rows_per_holder: int = MAX_ROWS_PER_HOLDER


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in order of key, version and writer; `after` is where the next page begins, None behind the last."""

    rows: tuple[Row, ...]
    after: bytes | None


class Directory:
    """The three roles of one node: holder (`holding`), home (`table`) and asker (`lookups`).

    `gen` is the node's generation and has to rise with every start. The owner calls `poll` at `deadline`, gives every message of
    kinds `row_messages.KINDS` to `handle` with its authenticated sender, and does what all calls return.
    """

    def __init__(
        self,
        me: NodeId,
        gen: int,
        *,
        rng: random.Random,
        now: float,
        settings: DirectorySettings | None = None,
    ) -> None:
        self.me = me
        self.settings = settings = settings or DirectorySettings()
        self.homes = self._ranked([me])
        self.holding = Announcer(
            me, gen, homes=self.homes, rate_bytes_per_s=settings.rate_bytes_per_s, rng=rng, now=now
        )
        self.table = HomeTable(
            me,
            gen,
            homes=self.homes,
            max_rows=settings.max_rows,
            max_rows_per_holder=settings.max_rows_per_holder,
        )
        self.lookups = Lookups(rng)
        self.malformed = 0
        """Messages that could not be read."""
        self._rng = rng
        self._disproved: dict[tuple[NodeId, Key, Version], tuple[int, int]] = {}

    def set_members(self, members: Iterable[LiveMember], now: float) -> None:
        """The members are these from now on; this node is one of them whether it is named or not."""
        others = {one.node: (one.gen, one.suspect) for one in members if one.node != self.me}
        if others.keys() | {self.me} != set(self.homes.members):
            self.homes = self._ranked([self.me, *others])
        self.table.set_members(self.homes, others, now)
        self.holding.set_homes(self.homes, {node: gen for node, (gen, _) in others.items()}, now)

    def hold(
        self,
        key: Key,
        ver: Version,
        state: RowState,
        *,
        size_bytes: int | None,
        have_bytes: int,
        validated_at: float,
        now: float,
    ) -> None:
        """This node holds so much of a version; to be called again whenever that changes, as often as one likes.

        `validated_at` is monotonic like `now`. Private entries must not be given. Raises ValueError for names that are none.
        """
        size = -1 if size_bytes is None else min(max(size_bytes, 0), MAX_SIZE_BYTES)
        have = min(max(have_bytes, 0), MAX_SIZE_BYTES)
        self.holding.hold(name_of(key, ver), Value(0, state, size, have, whole_seconds(validated_at)), now)

    def drop(self, key: Key, ver: Version, now: float) -> None:
        """This node holds nothing of a version any more; nothing happens when it did not."""
        self.holding.drop(name_of(key, ver), now)

    def locate(self, keys: Sequence[Key], now: float) -> tuple[int, list[Decision]]:
        """Who holds these keys: the number of the lookup, and what to do; its `Found` comes now or from a later call.

        Where this node is home the answer is its own table's. Raises BadRequest for more than MAX_LOCATED keys.
        """
        if len(keys) > MAX_LOCATED:
            raise BadRequest(f"{len(keys)} keys in one lookup; the limit is {MAX_LOCATED}")
        reach = self.table.reach(now)
        known: dict[Key, Answer] = {}
        homes: dict[Key, Sequence[NodeId]] = {}
        for key in keys:
            known[key] = answer = self._answer(key, reach, now)
            if not answer.sure and not self._is_enough(answer):
                ranked = [node for node in self.homes.of(key) if node != self.me]
                ranked.sort(key=self.table.writers.is_suspect)
                if ranked:
                    homes[key] = ranked
        number = self.lookups.number()
        sends, found = self.lookups.start(number, tuple(keys), known, homes, now)
        return number, self._decided(sends, found)

    def disprove(self, row: Row) -> None:
        """A holder was asked and does not have what the row says: it is not told again here until the holder writes a newer one.

        Not for a holder that did not answer; that is the members' affair.
        """
        name = (row.holder, row.key, row.ver)
        self._disproved.pop(name, None)
        while len(self._disproved) >= MAX_DISPROVED:
            del self._disproved[next(iter(self._disproved))]
        self._disproved[name] = (row.gen, row.rver)

    def handle(self, sender: NodeId, data: bytes, now: float) -> list[Decision]:
        """A message of an authenticated member; whatever it holds, nothing is raised."""
        try:
            message = decode(data)
        except RemoteProtocolError:
            self.malformed += 1
            return []
        match message:
            case Announce():
                return self._acknowledge(sender, self.table.announced(sender, message, now))
            case Check():
                return self._acknowledge(sender, self.table.checked(sender, message, now))
            case Ack():
                self.holding.acked(sender, message, now)
            case Locate():
                return self._tell(sender, message, now)
            case Located():
                answers = [
                    self._believed(answer_of(sender, key_of(t.key), t.sure, t.rows, now))
                    for t in message.told
                ]
                return self._decided(*self.lookups.answered(sender, message, answers, now))
        return []

    def poll(self, now: float) -> list[Decision]:
        """What is due by now."""
        sends, found = self.lookups.poll(now)
        decisions: list[Decision] = [
            *map(self._judged, found),
            *sends,
            *self.holding.poll(now),
            *self.table.poll(now),
        ]
        return decisions

    def deadline(self) -> float | None:
        """When to call `poll` again; None when nothing is due without a call or a message."""
        deadlines = (self.lookups.deadline(), self.holding.deadline(), self.table.deadline())
        return min((at for at in deadlines if at is not None), default=None)

    def page(
        self, after: bytes = b"", limit: int = 1_000, node: NodeId | None = None, now: float = 0.0
    ) -> Page:
        """Rows known here, of all holders or of one, from behind `after`; the table may change between pages.

        At most `limit` rows and MAX_PAGE, and fewer, perhaps none, when MAX_PAGE were looked at. A row that is there during the
        whole listing is on exactly one page.
        """
        limit = min(max(limit, 1), MAX_PAGE)
        rows: list[Row] = []
        for looked, (identity, row) in enumerate(self._merged(after, now)):
            if len(rows) == limit or looked == MAX_PAGE:
                return Page(tuple(rows), after)
            if node is None or row.holder == node:
                rows.append(row)
            after = identity
        return Page(tuple(rows), None)

    def completeness(self, now: float) -> Completeness:
        """How far the rows known here are those of all members: who confirmed them, who did not, and how old they are."""
        missing: list[Missing] = []
        ages_s = [0.0]
        for node in self.homes.members:
            if node == self.me:
                continue
            writer = self.table.writers.current(node)
            if writer is None:
                missing.append(Missing(node, "has announced nothing yet"))
                continue
            ages_s.append(now - writer.heard_at)
            if writer.overfull:
                missing.append(Missing(node, "has more rows than fit here"))
            elif not writer.confirmed:
                missing.append(Missing(node, "is still announcing"))
        if not self.homes.everywhere:
            missing.append(Missing(self.me, "keeps a part of all keys"))
        members = len(self.homes.members)
        silent = sum(1 for one in missing if one.node != self.me)
        return Completeness(members, members - silent, tuple(missing), max(ages_s))

    def check(self) -> None:
        """Assert all bounds and invariants that one node can see."""
        self.holding.check()
        self.table.check()
        self.lookups.check()
        assert len(self._disproved) <= MAX_DISPROVED

    def _ranked(self, members: Iterable[NodeId]) -> Homes:
        return Homes(members, copies=self.settings.copies, full_up_to=self.settings.full_up_to)

    def _answer(self, key: Key, reach: int, now: float) -> Answer:
        """What this node knows of a key: its own rows and those that it keeps."""
        own = [
            self._own(name, value, now) for name, _, value in self.holding.table.of_key(bytes.fromhex(key))
        ]
        answer = Answer(key, (*own, *self.table.rows_of(key)), self.table.is_within(reach, key), self.me)
        return self._believed(answer)

    def _believed(self, answer: Answer) -> Answer:
        """The answer without rows of strangers and without those that were found to be wrong, suspects last."""
        rows = [row for row in answer.rows if row.holder in self.homes and not self._is_disproved(row)]
        if len(rows) > 1:
            rows.sort(key=lambda row: self.table.writers.is_suspect(row.holder))
        return Answer(answer.key, tuple(rows), answer.sure, answer.home)

    def _is_disproved(self, row: Row) -> bool:
        wrong = self._disproved.get((row.holder, row.key, row.ver)) if self._disproved else None
        return wrong is not None and (row.gen, row.rver) <= wrong

    def _is_enough(self, answer: Answer) -> bool:
        """Whether this node is home and knows another holder that is not suspected; then nobody is asked."""
        return self.table.is_home_of(answer.key) and any(
            row.holder != self.me and not self.table.writers.is_suspect(row.holder) for row in answer.rows
        )

    def _own(self, name: bytes, value: Value, now: float) -> Row:
        return row_of(name, value, self.me, self.holding.gen, now)

    def _acknowledge(self, holder: NodeId, ack: Ack | None) -> list[Decision]:
        return [] if ack is None else [Send(holder, encode(ack))]

    def _tell(self, asker: NodeId, message: Locate, now: float) -> list[Decision]:
        """Answer a question in parts of a datagram each; nobody but members is answered."""
        if asker not in self.homes:
            return []
        reach = self.table.reach(now)
        parts: list[list[Told]] = [[]]
        room = DATAGRAM_BYTES
        for key in dict.fromkeys(message.keys):
            told = self._told(self._answer(key_of(key), reach, now), now)
            room -= told_bytes(told)
            if room < 0 and parts[-1]:
                parts.append([])
                room = DATAGRAM_BYTES - told_bytes(told)
            parts[-1].append(told)
        return [Send(asker, encode(Located(message.number, tuple(part)))) for part in parts]

    def _told(self, answer: Answer, now: float) -> Told:
        rows = list(answer.rows)
        if (
            len(rows) > MAX_HOLDERS
        ):  # a random choice, so that a hot key does not send everybody to the same holder
            self._rng.shuffle(rows)
            rows.sort(key=lambda row: self.table.writers.is_suspect(row.holder))
            del rows[MAX_HOLDERS:]
        return Told(bytes.fromhex(answer.key), answer.sure, tuple(_told_row(row, now) for row in rows))

    def _merged(self, after: bytes, now: float) -> Iterator[tuple[bytes, Row]]:
        """Own and kept rows in one order."""
        others = self.table.rows_behind(after)
        waiting = next(others, None)
        for name, value in self._own_behind(after):
            identity = identity_of(name, _WRITER_OF_ME)
            while waiting is not None and waiting[0] < identity:
                yield waiting
                waiting = next(others, None)
            yield identity, self._own(name, value, now)
        if waiting is not None:
            yield waiting
        yield from others

    def _own_behind(self, after: bytes) -> Iterator[tuple[bytes, Value]]:
        first = slot_of_name(after) if after else 0
        for slot in self.holding.table.slots(first):
            for name, _, value in self.holding.table.of_slot(slot):
                if identity_of(name, _WRITER_OF_ME) > after:
                    yield name, value

    def _decided(self, sends: list[Send], found: Found | None) -> list[Decision]:
        """The view may have changed since the rows of a lookup were told, so they are judged again at its end."""
        return [*sends, self._judged(found)] if found is not None else [*sends]

    def _judged(self, found: Found) -> Found:
        return Found(found.lookup, tuple(self._believed(answer) for answer in found.answers))


def _told_row(row: Row, now: float) -> ToldRow:
    return ToldRow(
        bytes.fromhex(row.holder),
        row.gen,
        bytes.fromhex(row.ver),
        row.rver,
        row.state,
        -1 if row.size_bytes is None else row.size_bytes,
        row.have_bytes,
        _age_s(now - row.validated_at),
        _age_s(now - row.heard_at),
    )


def _age_s(seconds: float) -> int:
    return int(min(max(seconds, 0.0), MAX_AGE_S))
