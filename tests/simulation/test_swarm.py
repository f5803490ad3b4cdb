"""A swarm on virtual time: real cores, shaped links, and peers that die, crawl, lie, or lose messages.

Bytes move in chunks. An uplink serves its uploads in turn, a downlink is a queue, and an answer has two chunks under way at most; so
uploads share a link as connections do, and a slow receiver holds back its sender. The origin hands out stripes in
file order. `P2PSTORE_SWARM_SEED=N` runs the worlds with faults from another seed than the usual one.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from p2pstore.swarm import choosing, endgame
from p2pstore.swarm.asking import Asking
from p2pstore.swarm.blame import Blame, Verdict
from p2pstore.swarm.decisions import Abort, Accept, Asked, Busy, Cancel, Drop, Have, Refresh, Served, Want
from p2pstore.swarm.haves import Haves
from p2pstore.swarm.pieces import bits, piece_bytes
from p2pstore.swarm.requests import Request, Requests
from p2pstore.swarm.sampling import bitmap_of, indexes
from p2pstore.swarm.serving import Serving, Shelf
from p2pstore.types import NodeId, Version

VER = Version("0" * 32)
STRIPE_PIECES = 4
CHUNKS = 4
WINDOW_CHUNKS = 2
LATENCY_S = 0.0005
NOTICE_S = 1.0
"""After so long everybody knows of a death."""
MUDDLE_S = 0.1
LEASES = 8
ORIGIN = NodeId("origin")


class Broken(Exception):
    """Something that must never happen did."""


@dataclass
class Upload:
    """An answer on its way: pieces in order, of which `offset` chunks of the first have left."""

    peer: NodeId
    rid: int
    pieces: deque[int]
    offset: int = 0
    flying: int = 0
    over: bool = False


@dataclass
class Link:
    """A node's uplink, or the origin's: its uploads take turns, chunk by chunk."""

    rate: float
    uploads: deque[Upload] = field(default_factory=deque)
    sending: bool = False


@dataclass(frozen=True)
class Faults:
    die: int = 0
    slow: int = 0
    lie: int = 0
    mute: int = 0
    """Peers that claim to have everything at once, and answer nothing."""
    loss: float = 0.0
    muddle: float = 0.0
    """How many messages come twice, the second time up to MUDDLE_S later."""
    gateway: bool = False
    """Only node 0 reaches the origin."""


class Node:
    def __init__(self, world: World, number: int, rate: float) -> None:
        self.world, self.name = world, NodeId(f"{number:02x}")
        self.rng = random.Random(f"{world.seed} {number}")
        self.rate = rate
        self.blame = Blame()
        self.asking = Asking(VER, world.length, world.piece, self.blame)
        self.serving = Serving()
        self.shelf = Shelf(VER, world.length, world.piece)
        self.haves = Haves(self.asking.count)
        self.up = Link(rate)
        self.down_free = 0.0
        self.alive, self.lies, self.mute = True, False, False
        self.leases = 0
        self.done_at: float | None = None
        self.came_at: dict[int, float] = {}
        self.got_at = 0.0
        self.timer_at = float("inf")

    def step(self) -> None:
        """Do what the cores say, and come back when they have something to do."""
        if not self.alive:
            return
        now = self.world.now
        self.obey(self.asking.drain(now, self.rng))
        timer = self.serving.timer()
        if timer is not None and timer <= now:
            self.serve(self.serving.expire(now))
        for have in self.haves.flush(self.asking.neighbours, self.serving.wait_s, self.serving.rate, now):
            self.world.count["have"] += 1
            self.world.send(self, have.peer, Node.heard, have)
        if self.world.checking:
            self.asking.check()
            self.serving.check()
            self.blame.check()
        times = [self.asking.timer(now), self.serving.timer(), self.haves.timer()]
        at = min((max(one, now) for one in times if one is not None), default=None)
        if at is not None and (at < self.timer_at or self.timer_at <= now):
            self.timer_at = at
            self.world.later(at - now + 1e-6, self.step)

    def claims(self) -> int:
        """What it says that it has."""
        return bits(0, self.asking.count) if self.mute else self.shelf.have

    def obey(self, decisions: list[Asked]) -> None:
        for one in decisions:
            match one:
                case Want():
                    self.world.count["want"] += 1
                    self.world.send(self, one.peer, Node.wanted, one)
                case Cancel():
                    self.world.send(self, one.peer, Node.cancelled, one)
                case Drop():
                    self.world.count["drop " + one.why] += 1
                    self.world.send(self, one.peer, Node.lost)
                    self.world.dropped.append((self.name, one.peer, one.why))
                    self.world.later(1.0, partial(self.world.dial, self, one.peer))
                case Refresh():
                    self.world.count["refresh"] += 1
                    self.world.send(self, one.peer, Node.told_all)

    def wanted(self, peer: NodeId, want: Want) -> None:
        if self.mute:
            return
        self.serve(
            self.serving.want(
                peer, want.rid, self.shelf, want.pieces, want.most, self.world.now, first=want.first
            )
        )

    def cancelled(self, peer: NodeId, cancel: Cancel) -> None:
        kept = self.serving.cancel(peer, cancel.rid, cancel.pieces, self.world.now)
        for upload in list(self.up.uploads):
            if (upload.peer, upload.rid) == (peer, cancel.rid) and not upload.over:
                begun = [upload.pieces[0]] if upload.offset else []
                rest = [index for index in upload.pieces if index in kept and index not in begun]
                upload.pieces = deque([] if cancel.close else begun + rest)
                if not upload.pieces:
                    self.finish(upload)

    def lost(self, peer: NodeId) -> None:
        self.asking.left(peer)
        self.serve(self.serving.gone(peer, self.world.now))
        for upload in list(self.up.uploads):
            upload.over = upload.over or upload.peer == peer

    def told_all(self, peer: NodeId) -> None:
        said = Have(peer, self.shelf.have, 0, self.serving.wait_s, self.serving.rate)
        self.world.send(self, peer, Node.heard, said, True)

    def heard(self, peer: NodeId, have: Have, whole: bool = False) -> None:
        self.asking.heard(peer, have.pieces, have.wait_s, have.rate, dropped=have.dropped, whole=whole)

    def serve(self, decisions: list[Served]) -> None:
        for one in decisions:
            match one:
                case Accept():
                    if one.pieces:
                        self.up.uploads.append(Upload(one.peer, one.rid, deque(one.pieces)))
                        self.world.transmit(self.up, self)
                    self.world.send(self, one.peer, Node.accepted, one)
                case Busy():
                    self.world.count["busy"] += 1
                    self.world.send(self, one.peer, Node.refused, one)
                case Abort():
                    for upload in list(self.up.uploads):
                        upload.over = upload.over or (upload.peer, upload.rid) == (one.peer, one.rid)

    def accepted(self, peer: NodeId, accept: Accept) -> None:
        self.asking.accepted(
            peer, accept.rid, bitmap_of(accept.pieces), accept.wait_s, accept.rate, self.world.now
        )

    def refused(self, peer: NodeId, busy: Busy) -> None:
        self.asking.busy(peer, busy.rid, busy.wait_s, self.world.now, self.rng)

    def finish(self, upload: Upload) -> None:
        if not upload.over:
            upload.over = True
            self.serve(self.serving.ended(upload.peer, upload.rid, self.world.now))

    def got(self, peer: NodeId, rid: int, index: int, right: bool) -> None:
        """A whole piece came in, from a peer or the origin."""
        if peer == ORIGIN:
            fresh = self.asking.stored(index)
        else:
            verdict = Verdict.RIGHT if right else Verdict.WRONG
            self.world.count["piece" if right else "wrong"] += 1
            fresh = self.asking.arrived(peer, rid, index, verdict, self.world.now)
        if fresh:
            if not right:
                raise Broken(f"{self.name} counts a wrong piece {index} of {peer}")
            self.got_at = self.came_at[index] = self.world.now
            self.shelf.verified(index)
            self.haves.new(index, self.world.now)
        if self.asking.done and self.done_at is None:
            self.done_at = self.world.now
            self.world.unfinished = False


class World:
    def __init__(
        self,
        seed: int = 1,
        nodes: int = 16,
        length: int = 128 << 20,
        rate: float = 12.5e6,
        faults: Faults | None = None,
        *,
        degree: int | None = None,
        checking: bool = False,
    ) -> None:
        self.seed, self.length, self.rate, self.checking = seed, length, rate, checking
        self.faults = faults or Faults()
        self.rng = random.Random(seed)
        self.piece = piece_bytes(length)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.serials = itertools.count()
        self.count: Counter[str] = Counter()
        self.dropped: list[tuple[NodeId, NodeId, str]] = []
        self.nodes = [Node(self, number, rate) for number in range(nodes)]
        self.by_name = {node.name: node for node in self.nodes}
        self.bound_s = length / rate
        self.origin = Link(rate)
        self.pieces = self.nodes[0].asking.count
        self.plan = deque(
            bits(first, min(STRIPE_PIECES, self.pieces - first))
            for first in range(0, self.pieces, STRIPE_PIECES)
        )
        self.leased: dict[int, NodeId] = {}
        self.origin_pieces = 0
        self.unfinished = False
        self.break_things()
        self.connect(degree or 2 * nodes)
        self.later(0.0, self.lease)
        self.later(0.5, self.watch)

    def connect(self, degree: int) -> None:
        """Each node dials half as many neighbours as it is to have."""
        for one in self.nodes:
            others = [other for other in self.nodes if other is not one]
            for other in self.rng.sample(others, min(-(-degree // 2), len(others))):
                self.meet(one, other)

    def break_things(self) -> None:
        faults = self.faults
        unlucky = self.rng.sample(self.nodes[1:], faults.die + faults.slow + faults.lie + faults.mute)
        for _ in range(faults.mute):
            unlucky.pop().mute = True
        for _ in range(self.faults.die):
            node = unlucky.pop()
            self.later(self.rng.uniform(0.1, 0.8) * self.bound_s, partial(self.kill, node))
        for _ in range(self.faults.slow):
            node = unlucky.pop()
            node.rate = node.up.rate = self.rate / 10
        for node in unlucky:
            node.lies = True

    # Time and messages

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay_s, next(self.serials), action))

    def send(self, sender: Node, peer: NodeId, deliver: Callable[..., None], *what: object) -> None:
        if sender.alive and (not self.faults.loss or self.rng.random() >= self.faults.loss):
            message = partial(self.deliver, self.by_name[peer], deliver, sender.name, *what)
            self.later(LATENCY_S, message)
            if self.faults.muddle and self.rng.random() < self.faults.muddle:
                self.later(LATENCY_S + self.rng.random() * MUDDLE_S, message)

    def deliver(self, to: Node, deliver: Callable[..., None], *what: object) -> None:
        if to.alive:
            deliver(to, *what)
            to.step()

    def run(self, limit_s: float) -> World:
        while self.events and self.now < limit_s and (self.unfinished or not self.all_done()):
            self.now, _, action = heapq.heappop(self.events)
            action()
        for node in self.nodes:
            node.asking.check()
            node.serving.check()
        return self

    def live(self) -> list[Node]:
        return [node for node in self.nodes if node.alive]

    def honest(self) -> list[Node]:
        return [node for node in self.live() if not (node.lies or node.mute)]

    def all_done(self) -> bool:
        """Whether all honest nodes have the file; asked again only after one more has it, or died."""
        self.unfinished = not all(node.done_at is not None for node in self.honest())
        return not self.unfinished

    @property
    def took_s(self) -> float:
        return max(node.done_at or float("inf") for node in self.honest())

    # Links

    def transmit(self, link: Link, sender: Node | None) -> None:
        if link.sending or (sender is not None and not sender.alive):
            return
        for _ in range(len(link.uploads)):
            upload = link.uploads.popleft()
            if upload.over:
                continue
            link.uploads.append(upload)
            if upload.flying < WINDOW_CHUNKS and upload.pieces:
                link.sending = True
                upload.flying += 1
                self.later(self.piece / CHUNKS / link.rate, partial(self.left, link, sender, upload))
                return

    def left(self, link: Link, sender: Node | None, upload: Upload) -> None:
        """A chunk left the sender; the next one may go."""
        link.sending = False
        to = self.by_name[upload.peer]
        if (sender is None or sender.alive) and not upload.over:
            index, upload.offset = upload.pieces[0], upload.offset + 1
            whole = upload.offset == CHUNKS
            if whole:
                upload.pieces.popleft()
                upload.offset = 0
            last = not upload.pieces
            if sender is not None:
                self.count["chunks of " + sender.name] += 1
                sender.serving.sent(upload.peer, upload.rid, self.piece // CHUNKS, self.now)
                if last:
                    sender.finish(upload)
            at = max(self.now + LATENCY_S, to.down_free + self.piece / CHUNKS / to.rate)
            to.down_free = at
            self.later(at - self.now, partial(self.came, link, sender, upload, index, whole, last))
        self.transmit(link, sender)

    def came(
        self, link: Link, sender: Node | None, upload: Upload, index: int, whole: bool, last: bool
    ) -> None:
        """A chunk is at its receiver."""
        upload.flying -= 1
        to = self.by_name[upload.peer]
        if to.alive:
            name = ORIGIN if sender is None else sender.name
            to.asking.progressed(name, upload.rid, self.now)
            if whole:
                to.got(name, upload.rid, index, sender is None or not sender.lies)
            if last and whole:
                to.asking.ended(name, upload.rid, self.now)
                if sender is None:
                    self.lease_over(upload)
            if whole:
                to.step()
        self.transmit(link, sender)

    # The origin

    def lease(self) -> None:
        """Hand out stripes in file order to those with the fewest leases."""
        while self.plan and len(self.leased) < LEASES:
            able = [
                node
                for node in self.live()[: 1 if self.faults.gateway else None]
                if node.rate == self.rate and not node.mute
            ]
            node = min(able, key=lambda one: (one.leases, self.rng.random()))
            self.grant(node, self.plan.popleft())

    def grant(self, node: Node, stripe: int) -> None:
        stripe &= node.asking.missing
        if stripe:
            node.leases += 1
            node.asking.reserve(stripe)
            self.leased[stripe] = node.name
            self.origin_pieces += stripe.bit_count()
            self.origin.uploads.append(Upload(node.name, stripe, deque(indexes(stripe))))
            self.transmit(self.origin, None)

    def lease_over(self, upload: Upload) -> None:
        upload.over = True
        if self.leased.pop(upload.rid, None) is not None:
            self.by_name[upload.peer].leases -= 1
        self.lease()

    def watch(self) -> None:
        """Whoever gets nowhere, and finds pieces that nobody offers, reads them from the origin."""
        for node in self.live():
            idle = self.now - node.got_at > 1.0 and not node.leases and not self.plan
            stripe = indexes(node.asking.unheld() & ~sum(self.leased))[:STRIPE_PIECES] if idle else []
            if stripe:
                self.grant(node, bitmap_of(stripe))
        self.later(0.5, self.watch)

    # Trouble

    def kill(self, node: Node) -> None:
        node.alive = False
        self.unfinished = False
        for upload in self.origin.uploads:
            upload.over = upload.over or upload.peer == node.name
        self.later(NOTICE_S, partial(self.buried, node))

    def buried(self, node: Node) -> None:
        for stripe in [stripe for stripe, holder in self.leased.items() if holder == node.name]:
            del self.leased[stripe]
        held = sum(self.leased) + sum(self.plan)
        for one in self.live():
            one.lost(node.name)
            held |= one.asking.have
        gone = indexes(bits(0, self.pieces) & ~held)
        for first in range(0, len(gone), STRIPE_PIECES):
            self.plan.appendleft(bitmap_of(gone[first : first + STRIPE_PIECES]))
        self.lease()
        for one in self.live():
            one.step()

    def dial(self, node: Node, peer: NodeId) -> None:
        """A dropped neighbour is dialled again: barred ones are not taken back before their time."""
        other = self.by_name[peer]
        if not (node.alive and other.alive) or node.asking.neighbours.get(peer) is not None:
            return
        if not self.meet(node, other):
            self.later(5.0, partial(self.dial, node, peer))
        node.step()
        other.step()

    def meet(self, node: Node, other: Node) -> bool:
        """Two nodes become neighbours, or neither of the other."""
        if not node.asking.join(other.name, other.claims(), self.now):
            return False
        if not other.asking.join(node.name, node.claims(), self.now):
            node.asking.left(other.name)
            return False
        return True

    def comes(self) -> Node:
        """A node that comes when the others have been at it for some time."""
        node = Node(self, len(self.nodes), self.rate)
        self.by_name[node.name] = node
        for other in self.nodes:
            self.meet(node, other)
        self.nodes.append(node)
        self.unfinished = True
        self.later(0.0, node.step)
        return node


SEEDS = [int(os.environ["P2PSTORE_SWARM_SEED"])] if "P2PSTORE_SWARM_SEED" in os.environ else [1]
GOAL = 1.08
"""Times the lower bound, for 16 equal nodes and an origin as fast as one of them: nobody can have the last byte before L/rate."""
GATEWAY_GOAL = 1.25
SMALL = 16 << 20
SMALL_LIMIT_S = 60.0


def requests_per_piece(world: World) -> float:
    return world.count["want"] / (world.pieces * len(world.live()))


def small(seed: int, faults: Faults, limit_s: float = SMALL_LIMIT_S) -> World:
    return World(seed, length=SMALL, faults=faults, checking=True).run(limit_s)


@pytest.fixture(scope="module")
def fault_free() -> World:
    """128 MiB to 16 nodes at 12.5 MB/s, which takes 10.7 s at least."""
    return World().run(20.0)


def test_all_have_the_file_close_to_the_bound(fault_free: World) -> None:
    # Reached: 1.047 with 1.15 requests a piece, a fifth of them refused.
    world = fault_free
    assert world.took_s <= GOAL * world.bound_s
    assert world.origin_pieces == world.pieces, "a piece left the origin twice"
    assert requests_per_piece(world) <= 1.3
    assert world.count["piece"] == (len(world.nodes) - 1) * world.pieces, "a piece was sent in vain"
    assert not world.dropped
    sent = [world.count["chunks of " + node.name] for node in world.nodes]
    assert max(sent) <= 1.25 * sum(sent) / len(sent), "some carry the others"


def test_a_reader_may_start_soon(fault_free: World) -> None:
    """How long a reader at 0.8 of the line's rate has to wait at first, so that it never waits again."""
    world = fault_free
    piece_s = world.piece / (0.8 * world.rate)
    delays = sorted(max(at - index * piece_s for index, at in node.came_at.items()) for node in world.nodes)
    assert delays[len(delays) // 2] <= 1.5
    assert delays[-1] <= 2.5


@pytest.mark.parametrize("planted", [False, True])
def test_one_gateway_is_little_slower(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is much slower, and that is seen, when servers don't choose which of the wanted pieces they send."""
    # Reached: 1.16 here; 1.10 for 128 MiB with 1.17 requests a piece.
    if planted:
        monkeypatch.setattr(Shelf, "served", lambda shelf, index: 0)
        monkeypatch.setattr(choosing, "WANTS_PER_PIECE", 1)
    world = World(length=SMALL * 4, faults=Faults(gateway=True))
    world.run(1.5 * world.bound_s)
    assert (world.took_s <= GATEWAY_GOAL * world.bound_s) is not planted
    if not planted:
        assert world.origin_pieces == world.pieces
        assert requests_per_piece(world) <= 1.4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "faults",
    [
        Faults(die=4),
        Faults(loss=0.05),
        Faults(mute=2, muddle=0.1, lie=1),
        Faults(die=3, slow=2, lie=2, loss=0.02),
        Faults(die=2, lie=1, loss=0.02, gateway=True),
    ],
    ids=str,
)
def test_all_that_live_end_with_all_pieces(seed: int, faults: Faults) -> None:
    world = small(seed, faults)
    assert all(node.done_at is not None for node in world.honest())
    assert len(world.honest()) == 16 - faults.die - faults.lie - faults.mute


@pytest.mark.parametrize("seed", SEEDS)
def test_liars_are_banned_and_the_honest_are_not(seed: int) -> None:
    world = World(seed, length=SMALL, faults=Faults(lie=2)).run(SMALL_LIMIT_S)
    liars = {node.name for node in world.nodes if node.lies}
    banned = {peer for _, peer, why in world.dropped if "wrong" in why}
    assert banned == liars
    assert world.count["wrong"] <= len(liars) * len(world.honest()) * 3


def test_the_dead_hold_nobody_up_for_long() -> None:
    world = World(length=SMALL * 3, faults=Faults(die=4)).run(SMALL_LIMIT_S)
    assert world.took_s <= 1.15 * world.bound_s + 1.0
    assert world.origin_pieces <= world.pieces + STRIPE_PIECES * 4 * LEASES


def test_who_claims_everything_and_gives_nothing_is_soon_left_alone() -> None:
    world = World(length=SMALL * 2, faults=Faults(mute=2)).run(SMALL_LIMIT_S)
    assert world.took_s <= 1.2 * world.bound_s + 2.0
    assert {peer for _, peer, _ in world.dropped} <= {node.name for node in world.nodes if node.mute}


def test_a_latecomer_has_it_as_fast_as_its_link_allows() -> None:
    world = World(length=SMALL * 3, nodes=8).run(20.0)
    late, began_at = world.comes(), world.now
    world.run(40.0)
    assert late.done_at is not None and late.done_at - began_at <= 1.05 * world.bound_s + 0.2
    assert world.origin_pieces == world.pieces


def test_slow_nodes_slow_nobody_else() -> None:
    world = World(length=SMALL * 3, faults=Faults(slow=2)).run(6.0)
    fast = [node for node in world.nodes if node.rate == world.rate]
    assert len(fast) == 14
    assert all(node.done_at is not None and node.done_at <= 1.15 * world.bound_s for node in fast)


def test_the_same_seed_is_the_same_world() -> None:
    faults = Faults(die=2, slow=1, lie=1, loss=0.05)
    one, other = (World(5, length=SMALL // 4, faults=faults).run(10.0) for _ in range(2))
    assert one.count == other.count
    assert [node.done_at for node in one.nodes] == [node.done_at for node in other.nodes]


def test_counting_wrong_pieces_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived = Asking.arrived

    def believe(self: Asking, peer: NodeId, rid: int, index: int, verdict: Verdict, now: float) -> bool:
        return arrived(self, peer, rid, index, Verdict.RIGHT, now)

    monkeypatch.setattr(Asking, "arrived", believe)
    with pytest.raises(Broken, match="counts a wrong piece"):
        small(1, Faults(lie=2))


def test_endless_patience_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endgame, "MIN_PATIENCE_S", 1e9)
    monkeypatch.setattr(endgame, "MAX_PATIENCE_S", 1e9)
    world = small(1, Faults(loss=0.05), 20.0)
    assert any(node.done_at is None for node in world.honest())


def test_a_leaking_lock_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(self: Requests, request: Request) -> None:
        self._open.pop(request.rid, None)

    monkeypatch.setattr(Requests, "close", forgets)
    with pytest.raises(AssertionError, match="locks leak"):
        small(1, Faults())


def test_never_banning_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blame, "wrong", lambda self, ver, peer, now: False)
    world = small(1, Faults(lie=2))
    assert world.count["wrong"] > 2 * len(world.honest()) * 3
