"""One node's part in the membership: messages and time come in, messages to send and changes come out. No IO here.

SWIM with Lifeguard, and what their users have learnt since. Whatever comes in, `handle` does not raise, state is bounded, and
what is sent in a second is too. The caller reads all that waits in its sockets before it calls `tick`, so that a loop that stood
still does not take its own absence for everybody else's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from p2pstore.gossip import timing
from p2pstore.gossip.admission import Admission
from p2pstore.gossip.beliefs import Beliefs
from p2pstore.gossip.decisions import Decision, Departed, Isolation, MemberChanged, Stalled
from p2pstore.gossip.members import Accusation, Address, Alive, Entry, Member, State
from p2pstore.gossip.messages import (
    MAX_LAG_MS,
    Ack,
    Correct,
    Filled,
    Gossip,
    Join,
    Joined,
    Leave,
    Message,
    Nack,
    Ping,
    PingRequest,
    Sync,
    Synced,
)
from p2pstore.gossip.outbox import UNCONFIRMED, Origin, Outbox
from p2pstore.gossip.probing import Probe, Probing, Purpose, Step
from p2pstore.gossip.reconcile import Reconcile
from p2pstore.gossip.relaying import Relay, Relays
from p2pstore.types import NodeId

if TYPE_CHECKING:
    from random import Random


class Membership:
    """The state of one node. `me` carries a generation that is durable and higher than any before.

    After `leave` it only says good-bye; make a new one to come back.
    """

    def __init__(self, me: Alive, *, seeds: Iterable[Address], now: float, rng: Random) -> None:
        self._rng = rng
        self._out: list[Decision] = []
        self._beliefs = Beliefs(me, now, rng, self._out)
        self._probing = Probing(rng)
        self._reconcile = Reconcile(self._beliefs, seeds, now, rng)
        self._outbox = Outbox(self._beliefs, now, rng, self._out)
        self._admission = Admission(me.node)
        self._relays = Relays()
        self._probe_at = now + timing.PROBE_PERIOD_S * rng.random()
        self._gossip_at = now + timing.GOSSIP_PERIOD_S * rng.random()
        self._prune_at = now + timing.PRUNE_S
        self._heard_at = now
        self._isolated = False
        self._farewells = 0
        self._farewell_at: float | None = None
        self._due_at = now

    @property
    def me(self) -> Alive:
        """What this node says of itself now."""
        return self._beliefs.me

    @property
    def health(self) -> int:
        """Lifeguard's local health: 0 is well, MAX_HEALTH very slow or nearly cut off."""
        return self._beliefs.health.score

    @property
    def isolated(self) -> bool:
        """Whether nobody was heard for so long that this node doubts itself."""
        return self._isolated

    @property
    def dropped(self) -> Counter[str]:
        """How many messages were not taken, by reason."""
        return self._admission.dropped

    @property
    def fingerprint(self) -> int:
        """Equal at nodes that hold the same members alive at the same incarnations."""
        return self._beliefs.table.fingerprint

    def live(self) -> tuple[NodeId, ...]:
        """All members that are alive or only suspected, this node among them, sorted: who may be a home."""
        return self._beliefs.table.live()

    def get(self, node: NodeId) -> Member | None:
        """What is held of a member; not to be changed."""
        return self._beliefs.table.get(node)

    def members(self) -> list[Member]:
        """All that are held, the dead and the departed among them; not to be changed."""
        return list(self._beliefs.table)

    def set_seeds(self, seeds: Iterable[Address]) -> None:
        """Where to look for members from now on."""
        self._reconcile.set_seeds(seeds)

    def report_lag(self, lag_s: float) -> None:
        """How late the node's main loop runs: told to others, who then ask somebody else first."""
        self._outbox.lag_ms = min(max(int(lag_s * 1000), 0), MAX_LAG_MS)

    def heard(self, node: NodeId, now: float) -> list[Decision]:
        """Something else that is authenticated came from `node`: a request, an answer, bytes. As good as an answered ping."""
        if not self._beliefs.departing:
            self._heard(node, now)
        return self._drain(now, ticked=False)

    def handle(
        self, payload: bytes, sender: NodeId, address: Address, now: float, *, reliable: bool = False
    ) -> list[Decision]:
        """A message came from `sender`, who is authenticated, from `address`; `reliable` when on a connection."""
        self._beliefs.suspicions.advance(now, isolated=self._isolated)
        if self._beliefs.departing:
            return []
        known = self.get(sender) is not None
        message = self._admission.admit(payload, sender, now, known=known, reliable=reliable)
        if message is not None:
            origin = Origin(sender, address, now, reliable)
            _HANDLERS[type(message)](self, message, origin)
            if self.get(sender) is None:
                self._outbox.greet(origin)
            self._heard(sender, now)
            self._follow_up(now)
        return self._drain(now, ticked=False)

    def tick(self, now: float) -> list[Decision]:
        """Do what is due; to be called at `next_at`, or later."""
        lag_s = now - self._due_at
        self._beliefs.suspicions.advance(now, isolated=self._isolated)
        if lag_s >= timing.STALL_S:
            self._stalled(lag_s, now)
        if self._farewell_at is not None:
            if now >= self._farewell_at:
                self._say_goodbye(now)
        elif not self._beliefs.departing:
            self._watch_isolation(now)
            self._tick_probes(now)
            self._tick_messages(now)
            self._tick_calls(now)
        return self._drain(now, ticked=True)

    def next_at(self) -> float:
        """When to call `tick`; infinite when nothing is to be done any more."""
        return self._due_at

    def leave(self, now: float) -> list[Decision]:
        """Say good-bye: to a few members, a few times; Departed comes with the last."""
        if not self._beliefs.departing:
            self._beliefs.depart(now)
            self._say_goodbye(now)
        return self._drain(now, ticked=True)

    def check(self) -> None:
        """Assert the invariants and the bounds."""
        self._beliefs.check()
        assert all(self._probing.running(purpose) <= timing.MAX_CHECKS for purpose in Purpose)
        checked = self._probing.targets(Purpose.FINAL)
        waiting = [one.node for one in self.members() if self._beliefs.suspicions.checking(one.node)]
        assert checked.issuperset(waiting), "a suspect waits for a verdict that never comes"
        assert len(self._relays) <= timing.MAX_RELAYS
        assert len(self._admission) <= timing.MAX_MEMBERS + 1
        assert not self._out

    def _drain(self, now: float, *, ticked: bool) -> list[Decision]:
        # What is overdue stays so until the tick: it shows how long the loop stood still.
        if ticked or self._due_at > now:
            self._due_at = max(self._next_due(), now)
        drained = list(self._out)
        self._out.clear()
        return drained

    def _next_due(self) -> float:
        if self._beliefs.departing:
            return float("inf") if self._farewell_at is None else self._farewell_at
        times = [self._prune_at, self._reconcile.next_at()]
        if not self._probing.running(Purpose.ROUTINE):
            times.append(self._probe_at)
        if not self._isolated and self._beliefs.table.live_count > 1:
            times.append(self._heard_at + timing.ISOLATED_S)
        news_at = self._beliefs.news.next_at()
        if news_at is not None:
            times.append(max(self._gossip_at, news_at))
        room = self._probing.running(Purpose.FINAL) < timing.MAX_CHECKS
        suspicion_at = self._beliefs.suspicions.next_at() if room else None
        optional = (suspicion_at, self._probing.next_at(), self._relays.next_at())
        times += [at for at in optional if at is not None]
        return min(times)

    def _heard(self, sender: NodeId, now: float) -> None:
        """Any message is a sign of life of its sender, and the end of probes of it."""
        self._heard_at = now
        if self._isolated:
            self._isolated = False
            self._out.append(Isolation(False))
        self._lives(sender)

    def _lives(self, node: NodeId) -> None:
        """Its probes are over."""
        for probe in self._probing.heard(node):
            if probe.purpose is Purpose.ROUTINE:
                self._beliefs.health.better()
            else:
                jitter_s = timing.FINAL_JITTER_S * self._rng.random()
                self._beliefs.suspicions.restart(node, self._beliefs.table.live_count, jitter_s)

    def _on_ping(self, ping: Ping, origin: Origin) -> None:
        if ping.target != self.me.node:
            self._admission.drop("for somebody else")
            return
        stamp, state = ping.view
        if state != State.ALIVE:
            self._beliefs.take([Accusation(self.me.node, stamp, state)], origin.node, origin.now)
        corrections = self._beliefs.take(ping.entries, origin.node, origin.now)
        self._reconcile.compare(origin.node, ping.fingerprint, origin.now)
        about_me: list[Entry] = [] if ping.view == (self.me.stamp, State.ALIVE) else [self.me]
        self._outbox.acknowledge(ping.nonce, origin, about_me + corrections)

    def _on_ack(self, ack: Ack, origin: Origin) -> None:
        member = self.get(origin.node)
        self._beliefs.news.confirmed(ack.nonce, origin.node)
        corrections = self._beliefs.take(ack.entries, origin.node, origin.now)
        self._reconcile.compare(origin.node, ack.fingerprint, origin.now)
        probe = self._probing.find(ack.nonce)
        if probe is not None and origin.node in probe.relays:
            self._lives(probe.target)
        else:
            if probe is not None and origin.node == probe.target:
                self._probing.answered(probe, origin.now)
            if member is not None:
                member.lag_s = ack.lag_ms / 1000
        relay = self._relays.take(ack.nonce, origin.node)
        if relay is not None:
            self._outbox.pass_on(ack, relay.target, relay.requester, relay.address, relay.nonce)
        self._outbox.correct(corrections, origin)

    def _on_request(self, request: PingRequest, origin: Origin) -> None:
        nonce = self._outbox.nonce()
        ends_at = origin.now + timing.RELAY_WAIT_S
        relay = Relay(origin.node, origin.address, request.nonce, request.target, ends_at)
        if request.target == self.me.node or not self._relays.start(nonce, relay):
            self._admission.drop("no relay")
            return
        self._outbox.ping(request.target, request.address, nonce, origin.now)
        self._outbox.correct([], origin)

    def _on_nack(self, nack: Nack, origin: Origin) -> None:
        probe = self._probing.find(nack.nonce)
        if probe is not None and origin.node in probe.relays:
            probe.nacks.add(origin.node)
        self._outbox.correct([], origin)

    def _on_gossip(self, gossip: Gossip, origin: Origin) -> None:
        corrections = self._beliefs.take(gossip.entries, origin.node, origin.now)
        if gossip.nonce == UNCONFIRMED:
            self._outbox.correct(corrections, origin)
        else:
            self._outbox.acknowledge(gossip.nonce, origin, corrections)

    def _on_correct(self, correct: Correct, origin: Origin) -> None:
        self._outbox.correct(self._beliefs.take(correct.entries, origin.node, origin.now), origin)

    def _on_compared(self, message: Join | Sync, origin: Origin) -> None:
        reply = self._reconcile.answer(message, origin.node, origin.now)
        if reply is not None:
            self._outbox.reply(reply, origin)
        else:
            self._admission.drop("too many syncs")

    def _on_joined(self, joined: Joined, origin: Origin) -> None:
        if not self._reconcile.joined(joined, origin.node, origin.now):
            self._admission.drop("not asked for")
            return
        others = self._beliefs.others()
        for node in self._rng.sample(others, min(timing.JOIN_PINGS, len(others))):
            self._probing.start(node, Purpose.ROUTINE, origin.now, patience=self.health)

    def _on_synced(self, synced: Synced, origin: Origin) -> None:
        filled = self._reconcile.fill(synced, origin.node, origin.now)
        if filled is None:
            self._admission.drop("not asked for")
            return
        self._outbox.reply(filled, origin)

    def _on_filled(self, filled: Filled, origin: Origin) -> None:
        self._reconcile.filled(filled, origin.node, origin.now)

    def _on_leave(self, leave: Leave, origin: Origin) -> None:
        self._beliefs.take([Accusation(origin.node, leave.stamp, State.LEFT)], origin.node, origin.now)

    def _stalled(self, lag_s: float, now: float) -> None:
        self._out.append(Stalled(lag_s))
        self._beliefs.suspicions.stalled(lag_s)
        self._probing.begin_again(now)
        self._beliefs.health.worse()
        self._heard_at = min(self._heard_at + lag_s, now)
        if lag_s >= timing.STALL_SYNC_S:
            self._reconcile.hurry(now)

    def _watch_isolation(self, now: float) -> None:
        silent = now >= self._heard_at + timing.ISOLATED_S
        if silent and self._beliefs.table.live_count > 1 and not self._isolated:
            self._isolated = True
            self._out.append(Isolation(True))
            self._reconcile.lonely(now)
        self._beliefs.suspicions.advance(now, isolated=self._isolated)

    def _tick_probes(self, now: float) -> None:
        for probe, step in self._probing.take_due(now):
            self._step(probe, step, now)
        for node in self._beliefs.suspicions.take_due(
            timing.MAX_CHECKS - self._probing.running(Purpose.FINAL)
        ):
            self._probing.start(node, Purpose.FINAL, now)
        if now >= self._probe_at and not self._probing.running(Purpose.ROUTINE):
            self._probe_at = now + timing.PROBE_PERIOD_S * (1 + self.health)
            target = self._probing.next_target(self._beliefs.others(), self.me.node)
            if target is not None:
                self._probing.start(target, Purpose.ROUTINE, now, patience=self.health)
        for probe, step in self._probing.take_due(now):
            self._step(probe, step, now)

    def _step(self, probe: Probe, step: Step, now: float) -> None:
        member = self.get(probe.target)
        address = None if member is None else member.address
        if probe.hearsay is not None:
            address = probe.hearsay.contact.address
        if address is None:
            return
        if step is Step.RELAY:
            self._outbox.ask_relays(probe, address)
        elif step is not Step.END:
            self._outbox.ping(probe.target, address, probe.nonce, now, reliable=step is Step.CONNECT)
        elif probe.purpose is Purpose.FINAL:
            self._beliefs.condemn(probe.target, now)
        elif probe.purpose is Purpose.ROUTINE:
            if not probe.relays or len(probe.nacks) < len(probe.relays):
                self._beliefs.health.worse()
            self._beliefs.accuse(probe.target, now)

    def _follow_up(self, now: float) -> None:
        """Ask those who are said to live whether they do, and those who are said not to answer."""
        for event in self._out:
            if isinstance(event, MemberChanged) and event.after == State.SUSPECT:
                if self._rng.random() * self._beliefs.table.live_count < timing.URGED:
                    self._probing.urge(event.node)
        for alive in self._beliefs.hearsay:
            self._probing.start(alive.node, Purpose.HEARSAY, now, hearsay=alive)
        self._beliefs.hearsay.clear()

    def _tick_messages(self, now: float) -> None:
        for relay in self._relays.take_failed(now):
            self._outbox.send(relay.requester, relay.address, Nack(relay.nonce))
        if now >= self._gossip_at and len(self._beliefs.news):
            self._gossip_at = now + timing.GOSSIP_PERIOD_S
            self._outbox.gossip(now)

    def _tick_calls(self, now: float) -> None:
        searching = self._isolated or self._beliefs.table.live_count <= 1
        for node, address, message in self._reconcile.due(now, searching=searching):
            self._outbox.send(node, address, message, reliable=True)
        if now >= self._prune_at:
            self._prune_at = now + timing.PRUNE_S
            self._beliefs.table.prune(now)
            self._admission.retain({member.node for member in self._beliefs.table})

    def _say_goodbye(self, now: float) -> None:
        self._outbox.say_goodbye()
        self._farewells += 1
        done = self._farewells >= timing.LEAVE_TIMES
        self._farewell_at = None if done else now + timing.GOSSIP_PERIOD_S
        if done:
            self._out.append(Departed())


_HANDLERS: Final[dict[type[Message], Callable[[Membership, Any, Origin], None]]] = {
    Ping: Membership._on_ping,
    Ack: Membership._on_ack,
    PingRequest: Membership._on_request,
    Nack: Membership._on_nack,
    Gossip: Membership._on_gossip,
    Correct: Membership._on_correct,
    Join: Membership._on_compared,
    Joined: Membership._on_joined,
    Sync: Membership._on_compared,
    Synced: Membership._on_synced,
    Filled: Membership._on_filled,
    Leave: Membership._on_leave,
}
