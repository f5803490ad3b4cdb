"""Whose turn it is to be asked whether it is there, and the steps of asking. Pure.

A probe is three pings, then relays (twice) and a connection, then the verdict (SWIM section 3.1, with more pings: at 30 % loss that
avoids nine in ten relays). A final check and a check of hearsay are probes without relays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from p2pstore.gossip import timing
from p2pstore.gossip.members import Alive
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random


class Purpose(Enum):
    """Why somebody is probed."""

    ROUTINE = "routine"
    FINAL = "final"
    HEARSAY = "hearsay"


class Step(Enum):
    """What to do now for a probe."""

    PING = "ping"
    RELAY = "relay"
    CONNECT = "connect"
    END = "end"


_PLANS: Final = {
    Purpose.ROUTINE: (
        *((0, Step.PING), (1, Step.PING), (2, Step.PING)),
        *((10 / 3, Step.RELAY), (10 / 3, Step.CONNECT), (14 / 3, Step.RELAY), (20 / 3, Step.END)),
    ),
    Purpose.FINAL: (
        *((0, Step.PING), (0, Step.CONNECT), (1, Step.PING), (2, Step.PING), (20 / 3, Step.END)),
    ),
    Purpose.HEARSAY: ((0, Step.PING), (1, Step.PING), (2, Step.PING), (20 / 3, Step.END)),
}
"""Steps and when they are due, in gaps between pings: with 150 ms the verdict is after one period."""


@dataclass(slots=True, eq=False)
class Probe:
    """One probe on its way. `hearsay` is what was said by a third party and is believed when the target answers."""

    nonce: bytes
    target: NodeId
    purpose: Purpose
    started_at: float
    gap_s: float
    hearsay: Alive | None = None
    relays: set[NodeId] = field(default_factory=set)
    nacks: set[NodeId] = field(default_factory=set)
    at_step: int = 0
    again: bool = False

    def due_at(self) -> float:
        """When its next step is due."""
        return self.started_at + _PLANS[self.purpose][self.at_step][0] * self.gap_s


class Probing:
    """The round of routine probes, one at a time, and all probes on their way: at most one a target and purpose.

    Final checks and checks of hearsay are at most MAX_CHECKS each. Round trips are smoothed over all members: pings wait for three.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._round: list[NodeId] = []
        self._met: set[NodeId] = set()
        self._urged: NodeId | None = None
        self._neighbour = False
        self._probes: dict[bytes, Probe] = {}
        self.rtt_s = 0.0

    def __len__(self) -> int:
        return len(self._probes)

    def urge(self, node: NodeId) -> None:
        """Others suspect it: ask it next, so that suspicions are confirmed or answered soon."""
        self._urged = node

    def next_target(self, others: Sequence[NodeId], me: NodeId) -> NodeId | None:
        """Whose turn it is among `others`, which are sorted.

        Every other turn is the next member's in the ring of ids, so that each one is asked by somebody every two periods; the
        turns between go round all, shuffled, newcomers at a random place (SWIM section 4.3).
        """
        there = set(others)
        for node in others:
            if node not in self._met:
                self._round.insert(self._rng.randrange(len(self._round) + 1), node)
        self._met = there
        urged, self._urged = self._urged, None
        if urged in there:
            return urged
        self._neighbour = not self._neighbour
        if self._neighbour and others:
            return next((node for node in others if node > me), others[0])
        while self._round:
            node = self._round.pop()
            if node in there:
                return node
        self._round = list(others)
        self._rng.shuffle(self._round)
        return self._round.pop() if self._round else None

    def running(self, purpose: Purpose) -> int:
        """How many probes of that purpose are on their way."""
        return sum(probe.purpose is purpose for probe in self._probes.values())

    def targets(self, purpose: Purpose) -> set[NodeId]:
        """Who is probed for that purpose now."""
        return {probe.target for probe in self._probes.values() if probe.purpose is purpose}

    def start(
        self, target: NodeId, purpose: Purpose, now: float, *, patience: int = 0, hearsay: Alive | None = None
    ) -> bool:
        """Begin a probe; False when there is one already, or no room. `patience` is the local health score."""
        busy = [probe for probe in self._probes.values() if probe.purpose is purpose]
        if len(busy) >= timing.MAX_CHECKS or any(probe.target == target for probe in busy):
            return False
        gap_s = min(max(timing.PING_GAP_S, timing.RTT_GAPS * self.rtt_s), timing.MAX_PING_GAP_S)
        nonce = self._rng.getrandbits(64).to_bytes(8, "big")
        self._probes[nonce] = Probe(nonce, target, purpose, now, gap_s * (1 + patience), hearsay)
        return True

    def take_due(self, now: float) -> list[tuple[Probe, Step]]:
        """Steps that are due; a probe is over with its END."""
        steps: list[tuple[Probe, Step]] = []
        for probe in list(self._probes.values()):
            while probe.due_at() <= now:
                step = _PLANS[probe.purpose][probe.at_step][1]
                steps.append((probe, step))
                if step is Step.END:
                    del self._probes[probe.nonce]
                    break
                probe.at_step += 1
        return steps

    def find(self, nonce: bytes) -> Probe | None:
        """The probe on its way that has this nonce."""
        return self._probes.get(nonce)

    def answered(self, probe: Probe, now: float) -> None:
        """The target's own answer came: count the round trip when only one ping can have caused it (Karn's rule)."""
        if probe.at_step == 1 and not probe.again:
            sample_s = max(now - probe.started_at, 0.0)
            self.rtt_s += (sample_s - self.rtt_s) * (timing.RTT_WEIGHT if self.rtt_s else 1.0)

    def heard(self, target: NodeId) -> list[Probe]:
        """Something came from the target itself: its probes are over, but for hearsay, which wants its own word."""
        done = [
            probe
            for probe in self._probes.values()
            if probe.target == target and probe.purpose is not Purpose.HEARSAY
        ]
        for probe in done:
            del self._probes[probe.nonce]
        return done

    def begin_again(self, now: float) -> None:
        """The loop stood still, and answers may be lost: nobody is judged by what was asked before."""
        for probe in self._probes.values():
            probe.started_at, probe.at_step, probe.again = now, 0, True

    def next_at(self) -> float | None:
        """When the next step is due, or None."""
        return min((probe.due_at() for probe in self._probes.values()), default=None)
