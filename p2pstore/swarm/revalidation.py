"""One conditional request per cluster and interval: revalidations are leased like pieces. Pure.

The rule: while one is under way everybody waits for it; whoever comes with a copy older than the last outcome gets that
outcome; only a copy that carries the last outcome and is stale all the same leads to another request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from p2pstore.swarm.messages import Outcome, Revalidated, Stale
from p2pstore.swarm.terms import Fence
from p2pstore.types import NodeId

REVALIDATE_S: Final = 5.0
"""A lessee that has not reported by then loses the lease to the next node."""
MAX_TRIES: Final = 3
"""So many nodes are sent to the origin before the waiters are told that it does not answer."""
WAIT_S: Final = 10.0
"""When nobody who can reach the origin turns up within this time the waiters are told the same."""
MAX_WAITERS: Final = 4096


@dataclass(slots=True)
class _Round:
    """One revalidation: who waits for it, who was sent, and who works on it since when."""

    began_at: float
    tried: set[NodeId]
    fence: Fence | None = None
    node: NodeId | None = None
    given_at: float = 0.0


class Revalidation:
    """Waiters, the lease and the last outcome of one key."""

    def __init__(self, order: int = 0) -> None:
        self.last: Outcome | None = None
        self._last_at = 0.0
        self._order = order
        self._round: _Round | None = None
        self._waiters: dict[NodeId, bool] = {}

    @property
    def waiting(self) -> bool:
        """Whether a lease is to be given."""
        return self._round is not None and self._round.fence is None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an outcome."""
        return self._round is not None

    def candidates(self) -> list[NodeId]:
        """Waiters that can reach the origin and were not sent there in vain, first come first."""
        tried = self._round.tried if self._round is not None else set()
        return [node for node, origin in self._waiters.items() if origin and node not in tried]

    def untried(self, node: NodeId) -> bool:
        """Whether a node was not sent to the origin in vain in this round."""
        return self._round is not None and node not in self._round.tried

    def ask(self, node: NodeId, stale: Stale, now: float) -> Outcome | None:
        """A copy is stale: the outcome if there is a later one, else None, and the node waits."""
        self._order = max(self._order, stale.seen)
        if self.last is not None and self.last.order > stale.seen and not stale.force and self._round is None:
            return self.aged(now)
        if self._round is None:
            self._round = _Round(now, set())
        if node in self._waiters or len(self._waiters) < MAX_WAITERS:
            self._waiters[node] = stale.origin
        return None

    def give(self, fence: Fence, node: NodeId, now: float) -> None:
        """Lease the revalidation to a node."""
        assert self._round is not None
        self._round.fence, self._round.node, self._round.given_at = fence, node, now

    def reported(
        self, node: NodeId, report: Revalidated, now: float
    ) -> tuple[Outcome, tuple[NodeId, ...]] | None:
        """A lessee reports: the outcome and its waiters, or None when it is not to be had yet, or not from this lease."""
        current = self._round
        if current is None or report.fence != current.fence or node != current.node:
            return None
        if report.status == 0:
            self._lost()
            return self._give_up() if len(current.tried) >= MAX_TRIES else None
        return self._finish(report, now)

    def node_lost(self, node: NodeId) -> None:
        """A node is gone: it waits no more, and its lease is free."""
        self._waiters.pop(node, None)
        if self._round is not None and self._round.node == node:
            self._lost()
        if self._round is not None and not self._waiters:
            self._round = None

    def expire(self, now: float) -> tuple[Outcome, tuple[NodeId, ...]] | None:
        """End a lease that is overdue, or the whole round: then what to tell to whom."""
        current = self._round
        if current is None:
            return None
        if current.fence is not None:
            if now - current.given_at < REVALIDATE_S:
                return None
            self._lost()
        overdue = now - current.began_at >= WAIT_S
        return self._give_up() if overdue or len(current.tried) >= MAX_TRIES else None

    def adopt(self, outcome: Outcome | None, now: float) -> None:
        """Take over what a predecessor knew."""
        if outcome is not None and (self.last is None or outcome.order > self.last.order):
            self.last, self._last_at = outcome, now
            self._order = max(self._order, outcome.order)

    def aged(self, now: float) -> Outcome | None:
        """The last outcome with its age as of now."""
        return (
            None
            if self.last is None
            else replace(self.last, age_s=self.last.age_s + max(now - self._last_at, 0.0))
        )

    def _lost(self) -> None:
        current = self._round
        assert current is not None
        if current.node is not None:
            current.tried.add(current.node)
        current.fence = current.node = None

    def _finish(self, report: Revalidated, now: float) -> tuple[Outcome, tuple[NodeId, ...]]:
        self._order += 1
        self.last = Outcome(self._order, report.status, report.headers, report.age_s, report.ver)
        self._last_at = now
        return self.last, self._end()

    def _give_up(self) -> tuple[Outcome, tuple[NodeId, ...]]:
        """Nothing is remembered: the next who asks begins a new round."""
        return Outcome(self._order, 0, (), 0.0), self._end()

    def _end(self) -> tuple[NodeId, ...]:
        waiters = tuple(self._waiters)
        self._waiters, self._round = {}, None
        return waiters
