"""How long a suspect may answer, and how far this node doubts itself: Lifeguard's timers on a clock of their own. Pure.

The rule: the clock of suspicion runs with the caller's, at half speed while nobody is heard, and not at all while the loop stood
still; so nobody is condemned for what this node has missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2pstore.gossip import timing
from p2pstore.types import NodeId

CLOCK_SLACK_S: Final = 1e-6
"""What turning one clock's time into the other's may round away; without it a timer could come due and find nothing."""


class _Suspicion:
    __slots__ = ("_jitter_s", "_live", "_started", "accusers", "checking", "ends")

    def __init__(self, started: float, live: int, jitter_s: float, accusers: Iterable[bytes]) -> None:
        self._started, self._live, self._jitter_s = started, live, jitter_s
        self.accusers: set[bytes] = set()
        self.checking = False
        self.confirm(accusers)

    def confirm(self, accusers: Iterable[bytes]) -> None:
        if len(self.accusers) < timing.MAX_ACCUSERS:
            self.accusers.update(accusers)
        confirmed = max(len(self.accusers) - 1, 0)
        self.ends = self._started + timing.suspicion_s(self._live, confirmed) + self._jitter_s


class Suspicions:
    """The suspects and when each one's time is over. At most one a member; accusers beyond MAX_ACCUSERS do not count."""

    def __init__(self, now: float) -> None:
        self._suspects: dict[NodeId, _Suspicion] = {}
        self._clock = 0.0
        self._at = now
        self._rate = 1.0

    def __len__(self) -> int:
        return len(self._suspects)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._suspects

    def checking(self, node: NodeId) -> bool:
        """Whether its time is over and its final check decides."""
        suspicion = self._suspects.get(node)
        return suspicion is not None and suspicion.checking

    def advance(self, now: float, *, isolated: bool) -> None:
        """Let the clock run to `now`; from here on at half speed when `isolated`."""
        self._clock += max(now - self._at, 0.0) * self._rate
        self._at = max(now, self._at)
        self._rate = timing.ISOLATED_RATE if isolated else 1.0

    def stalled(self, lag_s: float) -> None:
        """Take back the time in which the loop stood still."""
        self._clock -= lag_s * self._rate

    def start(self, node: NodeId, accusers: Iterable[bytes], live: int, jitter_s: float) -> None:
        """Suspect from now on, or join the accusers when it is a suspect already."""
        suspicion = self._suspects.get(node)
        if suspicion is None:
            self._suspects[node] = _Suspicion(self._clock, live, jitter_s, accusers)
        else:
            suspicion.confirm(accusers)

    def restart(self, node: NodeId, live: int, jitter_s: float) -> None:
        """It answered the final check without a word to the accusation: its time begins again."""
        suspicion = self._suspects.pop(node, None)
        if suspicion is not None:
            self._suspects[node] = _Suspicion(self._clock, live, jitter_s, suspicion.accusers)

    def stop(self, node: NodeId) -> None:
        """It is no suspect any more, whatever it is now."""
        self._suspects.pop(node, None)

    def take_due(self, most: int) -> list[NodeId]:
        """Suspects whose time is over, at most `most`; each is given once, for its final check."""
        clock = self._clock + CLOCK_SLACK_S
        due = [node for node, one in self._suspects.items() if not one.checking and one.ends <= clock]
        for node in due[:most]:
            self._suspects[node].checking = True
        return due[:most]

    def next_at(self) -> float | None:
        """When the next suspect's time is over if the clock goes on as it does, or None."""
        ends = min((one.ends for one in self._suspects.values() if not one.checking), default=None)
        return None if ends is None else self._at + (ends - self._clock) / self._rate


class Health:
    """Lifeguard's local health: 0 is well; every sign that this node is slow or cut off makes its probes more patient."""

    __slots__ = ("score",)

    def __init__(self) -> None:
        self.score = 0

    def worse(self) -> None:
        """A probe failed without a word from relays, an accusation had to be answered, or the loop stood still."""
        self.score = min(self.score + 1, timing.MAX_HEALTH)

    def better(self) -> None:
        """A probe succeeded."""
        self.score = max(self.score - 1, 0)
