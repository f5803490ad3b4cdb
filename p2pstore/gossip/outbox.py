"""What is sent: messages filled up with news as far as a datagram goes, with caps on what nobody asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from p2pstore.gossip import timing
from p2pstore.gossip.beliefs import Beliefs
from p2pstore.gossip.decisions import Decision, Send
from p2pstore.gossip.members import Address, Entry, Stamp, State
from p2pstore.gossip.messages import (
    HEAD_BYTES,
    NONCE_BYTES,
    Ack,
    Correct,
    Gossip,
    Leave,
    Message,
    Ping,
    PingRequest,
    encode,
    entry_bytes,
)
from p2pstore.gossip.pace import Pace
from p2pstore.gossip.probing import Probe
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random

UNCONFIRMED: Final = bytes(NONCE_BYTES)
"""The nonce of news that want no confirmation."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a message came from; `reliable` when on a connection."""

    node: NodeId
    address: Address
    now: float
    reliable: bool


class Outbox:
    """Puts sends into `out`. `lag_ms` is how late the main loop runs, for the acknowledgements."""

    def __init__(self, beliefs: Beliefs, now: float, rng: Random, out: list[Decision]) -> None:
        self._beliefs = beliefs
        self._rng = rng
        self._out = out
        self._corrections = Pace(timing.MAX_CORRECTIONS_PER_S, now)
        self.lag_ms = 0

    def nonce(self) -> bytes:
        """A fresh one: answers name the question by it."""
        return self._rng.getrandbits(64).to_bytes(NONCE_BYTES, "big")

    def send(
        self, node: NodeId | None, address: Address, message: Message, *, reliable: bool = False
    ) -> None:
        """Send as it is."""
        self._out.append(Send(node, address, encode(message), reliable))

    def reply(self, message: Message, origin: Origin) -> None:
        """Answer the way the question came."""
        self.send(origin.node, self._where(origin), message, reliable=origin.reliable)

    def ping(
        self, node: NodeId, address: Address, nonce: bytes, now: float, *, reliable: bool = False
    ) -> None:
        """Ask whether it is there, and say what is held of it, so that it can answer an accusation."""
        member = self._beliefs.table.get(node)
        view = (Stamp(0, 0), State.ALIVE) if member is None else member.rank
        entries = self._fill([], node, now, nonce)
        ping = Ping(nonce, node, view, self._beliefs.table.fingerprint, entries)
        self.send(node, address, ping, reliable=reliable)

    def acknowledge(self, nonce: bytes, origin: Origin, first: list[Entry]) -> None:
        """Say that this node is here, `first`, and of what the asker stands accused."""
        entries = self._fill(first + self._beliefs.against(origin.node), origin.node, origin.now, None)
        fingerprint = self._beliefs.table.fingerprint
        self.reply(Ack(nonce, self._beliefs.me.stamp, self.lag_ms, fingerprint, entries), origin)

    def correct(self, corrections: list[Entry], origin: Origin) -> None:
        """Tell the sender what it holds too old, and of what it stands accused; within MAX_CORRECTIONS_PER_S."""
        entries = corrections + self._beliefs.against(origin.node)
        if entries and self._corrections.admit(origin.now):
            room_bytes = timing.MAX_PAYLOAD_BYTES - HEAD_BYTES
            self.send(origin.node, self._where(origin), Correct(_fitting(entries, room_bytes)))

    def greet(self, origin: Origin) -> None:
        """Ask a stranger who it is; within MAX_CORRECTIONS_PER_S."""
        if self._corrections.admit(origin.now):
            self.ping(origin.node, origin.address, self.nonce(), origin.now, reliable=origin.reliable)

    def ask_relays(self, probe: Probe, address: Address) -> None:
        """Ask a few random members to ping the target; `probe` keeps whom."""
        others = [node for node in self._beliefs.others() if node != probe.target]
        for node in self._rng.sample(others, min(timing.RELAYS_PER_PROBE, len(others))):
            probe.relays.add(node)
            self._to_member(node, PingRequest(probe.nonce, probe.target, address))

    def pass_on(self, ack: Ack, target: NodeId, requester: NodeId, address: Address, nonce: bytes) -> None:
        """Tell who asked for a relay that the target is there, and what it says of itself."""
        member = self._beliefs.table.get(target)
        said = () if member is None or member.said is None else (member.said,)
        passed = Ack(nonce, ack.stamp, ack.lag_ms, self._beliefs.table.fingerprint, said)
        self.send(requester, address, passed)

    def gossip(self, now: float) -> None:
        """Tell news to a few random members: each until it confirms while there are few, else a counted number of times."""
        others = self._beliefs.others()
        small = len(others) < timing.ALL_TOLD_MAX
        most = len(others) if small else min(timing.GOSSIP_TARGETS, len(others))
        chosen = self._beliefs.news.targets(self._rng.sample(others, most), now)
        for node in chosen[: timing.GOSSIP_TARGETS]:
            nonce = self.nonce() if small else UNCONFIRMED
            entries = self._fill([], node, now, nonce if small else None)
            if entries:
                self._to_member(node, Gossip(nonce, entries))

    def say_goodbye(self) -> None:
        """Tell a few random members that this node leaves."""
        others = self._beliefs.others()
        for node in self._rng.sample(others, min(timing.LEAVE_TARGETS, len(others))):
            self._to_member(node, Leave(self._beliefs.me.stamp))

    def _where(self, origin: Origin) -> Address:
        """Whom to answer: on a connection the port at the other end is nobody's, it listens elsewhere."""
        member = self._beliefs.table.get(origin.node)
        known = None if member is None else member.address
        return known if origin.reliable and known is not None else origin.address

    def _to_member(self, node: NodeId, message: Message) -> None:
        member = self._beliefs.table.get(node)
        if member is not None and member.address is not None:
            self.send(node, member.address, message)

    def _fill(self, first: list[Entry], node: NodeId, now: float, nonce: bytes | None) -> tuple[Entry, ...]:
        """`first`, and news as far as there is room in a datagram."""
        room_bytes = timing.MAX_PAYLOAD_BYTES - HEAD_BYTES
        entries = _fitting(first, room_bytes)
        room_bytes -= sum(entry_bytes(entry) for entry in entries)
        most = timing.MAX_ENTRIES - len(entries)
        return entries + tuple(self._beliefs.news.pick(node, room_bytes, now, nonce, most))


def _fitting(entries: list[Entry], room_bytes: int) -> tuple[Entry, ...]:
    fitting: list[Entry] = []
    for entry in entries[: timing.MAX_ENTRIES]:
        room_bytes -= entry_bytes(entry)
        if room_bytes < 0:
            break
        fitting.append(entry)
    return tuple(fitting)
