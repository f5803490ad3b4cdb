"""A referee, its spares and N members over a virtual network: one origin copy, bounded excess under faults, always an end.

The cores are the real ones; network, origin and the exchange between peers are modelled. A failing seed is printed and
reproduces: `P2PSTORE_SIM_SEED=N` runs that seed alone.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from p2pstore.swarm.leases import RELEASE_S, Lease, Leases
from p2pstore.swarm.lessee import Lessee
from p2pstore.swarm.messages import Failed, Fault, Give, Message, Released, Revalidated, Revoke, Send
from p2pstore.swarm.pieces import UNKNOWN_LENGTH_PIECE_BYTES, lowest
from p2pstore.swarm.referee import TICK_S, Referee
from p2pstore.swarm.shape import Shape
from p2pstore.swarm.succession import Role, Succession
from p2pstore.swarm.tasks import AskOrigin, Decision, Fresh, Learned, Over, Read, Stop, Take
from p2pstore.swarm.terms import NO_TERM, Fence, Obedience, Term
from p2pstore.types import NodeId, Version

SEEDS = int(os.environ.get("P2PSTORE_SIM_SEEDS", "240")) // 20
ONE_SEED = os.environ.get("P2PSTORE_SIM_SEED")
PIECE = 256 << 10
REFEREE_TYPES = "Join Leave Ask Opened Brought Got Failed Released Urgent Stale Revalidated Claim Reply Replica HandOver".split()
END_S = 240.0
PEER_S = 0.05


class Broken(Exception):
    """An invariant does not hold."""


@dataclass(kw_only=True)
class Plan:
    """What a world is like; without arguments: no faults, but messages overtake each other."""

    nodes: int = 5
    pieces: int = 40
    delay_s: float = 0.02
    loss: float = 0.0
    repeat: float = 0.0
    deaths: int = 0
    referee_deaths: int = 0
    amnesia: int = 0
    slow_nodes: int = 0
    capable: int | None = None
    gateways: int = 0
    ranges: bool = True
    validator: bool = True
    known_length: bool = True
    changes: int = 0
    failing: float = 0.0
    spread_s: float = 0.1
    views_s: float = 0.0
    split_s: float = 0.0
    origin_rate: float = 40.0


@dataclass
class Node:
    """One node: both cores, and what a shell would keep."""

    name: NodeId
    lessee: Lessee
    referee: Referee
    rate: float
    alive: bool = True
    wants: bool = False
    taking: NodeId | None = None
    reads: dict[Fence, int | None] = field(default_factory=dict)
    """Fences under way, with the pieces to keep when they are to stop."""


class World:
    """Time, chance, the network and the origin; and the judge."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.plan, self.rng = plan, random.Random(seed)
        self.now = 0.0
        self.serials = itertools.count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.trace: list[str] = []
        self.reads: Counter[tuple[Version, int]] = Counter()
        self.requests = 0
        self.lost_reads = 0
        self.version = 0
        self.owners: dict[tuple[Term, int], tuple[Fence, NodeId]] = {}
        self.void: dict[Fence, float] = {}
        self.used: set[Fence] = set()
        self.highest: dict[NodeId, Term] = {}
        self.finished_at: dict[NodeId, float] = {}
        self.fresh: list[tuple[NodeId, int]] = []
        self.faults = 0
        self.cut: set[NodeId] = set()
        names = [NodeId(f"{index:02x}") for index in range(plan.nodes + plan.gateways)]
        self.ranking = self.rng.sample(names, len(names))
        able = plan.nodes if plan.capable is None else plan.capable
        self.nodes = {name: self.node(name, index) for index, name in enumerate(names)}
        for index, name in enumerate(names):
            node = self.nodes[name]
            node.lessee.slots = 4 if index < able or index >= plan.nodes else 0
            if plan.slow_nodes > index:
                node.rate /= 50
        self.gateways = [name for name in self.ranking if name in names[plan.nodes :]]
        for index, name in enumerate(names):
            node = self.nodes[name]
            known = (
                self.ranking
                if index == 0 or not plan.views_s
                else [n for n in self.ranking if n != self.ranking[0]]
            )
            self.send_all(node, node.referee.view(known, self.gateways, 0.0))
            if plan.views_s:
                self.later(plan.views_s * self.rng.random(), partial(self.sees, node))
            if index < plan.nodes:
                self.later(self.rng.random() * plan.spread_s, partial(self.start, node, known))
            self.later(self.rng.random() * TICK_S, partial(self.tick, node))
            self.later(self.rng.random() * PEER_S, partial(self.exchange, node))
        self.plan_faults()

    def node(self, name: NodeId, index: int) -> Node:
        rate = self.plan.origin_rate * (0.5 + self.rng.random())
        return Node(name, Lessee(name), Referee(name, random.Random(index)), rate)

    def plan_faults(self) -> None:
        plan, rng = self.plan, self.rng
        for _ in range(plan.deaths):
            self.later(0.2 + rng.random() * 3, lambda: self.kill(rng.choice(list(self.nodes.values()))))
        for _ in range(plan.referee_deaths):
            self.later(0.2 + rng.random() * 3, lambda: self.kill_referee(self.kill))
        for _ in range(plan.amnesia):
            self.later(0.2 + rng.random() * 3, lambda: self.kill_referee(self.forget))
        if plan.split_s:
            self.later(0.1 + rng.random() / 2, self.split)
        for _ in range(plan.changes):
            self.later(0.2 + rng.random() * 2, self.change)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay_s, next(self.serials), action))

    def note(self, line: str) -> None:
        self.trace.append(f"{self.now:8.3f} {line}")

    def expect(self, holds: bool, complaint: str) -> None:
        if not holds:
            raise Broken(complaint)

    # What happens to nodes.

    def start(self, node: Node, ranked: list[NodeId]) -> None:
        if node.alive and not node.wants:
            node.wants = True
            self.act(node, node.lessee.start([one for one in ranked if self.nodes[one].alive], self.now))

    def sees(self, node: Node) -> None:
        ranked = [one for one in self.live() if (one in self.cut) == (node.name in self.cut)]
        self.act(node, node.lessee.view(ranked, self.now))
        self.send_all(node, node.referee.view(ranked, self.gateways, self.now))

    def live(self) -> list[NodeId]:
        return [name for name in self.ranking if self.nodes[name].alive]

    def kill(self, node: Node) -> None:
        if not node.alive or len(self.live()) <= 2 or not self.would_go_on(node):
            return
        self.note(f"{node.name} dies")
        self.faults += 1
        node.alive = False
        for other in self.nodes.values():
            self.later(0.5 + self.rng.random() * 2, partial(self.hear_of_death, other, node.name))

    def would_go_on(self, node: Node) -> bool:
        return any(one.lessee.slots and one.alive and one is not node for one in self.nodes.values())

    def hear_of_death(self, node: Node, dead: NodeId) -> None:
        if node.alive and (not self.nodes[dead].alive or (dead in self.cut) != (node.name in self.cut)):
            self.sees(node)
            self.send_all(node, node.referee.died(dead, self.now))

    def kill_referee(self, how: Callable[[Node], None]) -> None:
        for node in self.nodes.values():
            if node.alive and node.referee.succession.reigns:
                how(node)
                return

    def split(self) -> None:
        """The network falls in two halves; each takes the other for dead after a while."""
        half = set(self.rng.sample(self.ranking, len(self.ranking) // 2))
        self.note(f"{sorted(half)} are cut off")
        self.faults += 1
        self.cut = half
        for node in self.nodes.values():
            self.later(0.5 + self.rng.random(), partial(self.sees, node))
            for other in self.nodes.values():
                if (node.name in half) != (other.name in half):
                    self.later(0.5 + self.rng.random(), partial(self.hear_of_death, node, other.name))
        self.later(self.plan.split_s, self.heal)

    def heal(self) -> None:
        self.note("healed")
        self.cut = set()
        for node in self.nodes.values():
            self.later(self.rng.random(), partial(self.sees, node))

    def forget(self, node: Node) -> None:
        """The process restarts: the referee knows nothing any more."""
        self.note(f"{node.name} forgets")
        self.faults += 1
        node.referee = Referee(node.name, random.Random(1), next(self.serials))
        self.send_all(node, node.referee.view(self.live(), self.gateways, self.now))

    def change(self) -> None:
        self.note("the origin changes")
        self.version += 1

    def tick(self, node: Node) -> None:
        if not node.alive:
            return
        if node.wants:
            self.act(node, node.lessee.tick(self.now))
        if not node.referee.idle:
            self.send_all(node, node.referee.tick(self.now))
        self.check(node)
        self.later(TICK_S, partial(self.tick, node))

    def expires(self, node: Node, seen: dict[NodeId, int]) -> None:
        self.act(node, node.lessee.stale(seen[node.name], False, self.now))

    # The network.

    def send_all(self, node: Node, sends: list[Send]) -> None:
        for one in sends:
            self.send(node, one)

    def send(self, node: Node, send: Send) -> None:
        if isinstance(send.message, Give):
            self.judge_lease(node.referee, send.to, send.message)
        if isinstance(send.message, Revoke):
            self.void.setdefault(send.message.fence, self.now + RELEASE_S - TICK_S)
        local = send.to == node.name
        if not local and self.rng.random() < self.plan.loss:
            return
        for _ in range(2 if self.rng.random() < self.plan.repeat else 1):
            delay_s = 0.0001 if local else self.plan.delay_s * (0.1 + self.rng.random())
            self.later(delay_s, partial(self.arrive, node.name, send.to, send.message))

    def arrive(self, sender: NodeId, to: NodeId, message: Message) -> None:
        node = self.nodes[to]
        if not node.alive or (sender in self.cut) != (to in self.cut):
            return
        name = type(message).__name__
        if name in REFEREE_TYPES:
            if isinstance(message, Failed | Released):
                self.void[message.fence] = self.now
            self.send_all(node, node.referee.hear(sender, message, self.now))
        elif name == "Stage":
            self.start(node, self.live())
        else:
            self.highest[to] = max(self.highest.get(to, NO_TERM), getattr(message, "term", NO_TERM))
            self.act(node, node.lessee.hear(message, self.now))
        self.check(node)

    # The shell.

    def act(self, node: Node, decisions: list[Decision]) -> None:
        for one in decisions:
            match one:
                case Send():
                    self.send(node, one)
                case Read():
                    self.begin(node, one)
                case Stop():
                    if one.fence in node.reads:
                        node.reads[one.fence] = one.keep
                case Learned():
                    self.learned(node, one)
                case Take():
                    node.taking = one.holder
                case Over():
                    self.note(f"{node.name}: {one}")
                case Fresh():
                    self.fresh.append((node.name, one.outcome.order))
                case AskOrigin():
                    self.requests += 1
                    report = Revalidated(one.fence, 304)
                    self.later(0.05, partial(self.report, node, report))
                case _:
                    pass

    def report(self, node: Node, report: Revalidated) -> None:
        if node.alive:
            self.act(node, node.lessee.revalidated(report))

    def learned(self, node: Node, learned: Learned) -> None:
        if learned.body is not None and learned.shape is not None:
            self.act(node, node.lessee.got(learned.shape.all, tell=True))
        self.note_done(node)

    def note_done(self, node: Node) -> None:
        if node.lessee.done and node.name not in self.finished_at:
            self.note(f"{node.name} is done")
            self.finished_at[node.name] = self.now

    def shape(self) -> Shape:
        length = self.plan.pieces * PIECE if self.plan.known_length else None
        return Shape(length=length, ranges=self.plan.ranges, validator="v" if self.plan.validator else "")

    def ver(self) -> Version:
        return Version(f"v{self.version}")

    def begin(self, node: Node, read: Read) -> None:
        self.expect(read.fence not in self.used, "a fence was used twice")
        self.expect(read.fence.term >= self.highest[node.name], "a lease of an earlier term was used")
        self.used.add(read.fence)
        node.reads[read.fence] = None
        self.note(f"{node.name} reads {read}")
        self.later(0.02 + self.rng.random() * 0.05, partial(self.answered, node, read))

    def answered(self, node: Node, read: Read) -> None:
        if not self.goes_on(node, read.fence):
            return
        if self.rng.random() < self.plan.failing:
            self.faults += 1
            return self.fails(
                node, read.fence, self.rng.choice([Fault.TIMEOUT, Fault.BUSY, Fault.UNREACHABLE])
            )
        ver = read.ver
        if ver is None:
            ver = (
                self.ver()
                if self.plan.validator
                else Version(f"{self.ver()}-{read.fence.number}-{node.name}")
            )
            self.act(node, node.lessee.opened(read.fence, ver, self.shape(), self.now))
        elif ver != self.ver() and self.plan.validator:
            return self.fails(node, read.fence, Fault.CHANGED)
        if node.reads.get(read.fence) != 0:
            self.piece(node, read.fence, ver, 0)

    def fails(self, node: Node, fence: Fence, fault: Fault) -> None:
        del node.reads[fence]
        self.act(node, node.lessee.failed(fence, fault, self.now))

    def goes_on(self, node: Node, fence: Fence) -> bool:
        if not node.alive or fence not in node.reads:
            return False
        if node.reads[fence] == 0 or fence not in node.lessee.leases:
            del node.reads[fence]
            return False
        return True

    def piece(self, node: Node, fence: Fence, ver: Version, size: int) -> None:
        """The next piece of a read begins to come in: of a whole one every piece, else what is left."""
        if not self.goes_on(node, fence):
            return
        work = node.lessee.leases[fence]
        index = size if work.count == 0 else lowest(work.left)
        assert index is not None
        self.reads[ver, index] += 1
        takes_s = 1 / node.rate
        self.later(takes_s / 2, partial(self.half, node, fence, size * PIECE + PIECE // 2))
        self.later(takes_s, partial(self.came, node, fence, ver, index, size + 1))

    def half(self, node: Node, fence: Fence, size_bytes: int) -> None:
        if node.alive and fence in node.reads:
            self.act(node, node.lessee.received(fence, 0, size_bytes, self.now))

    def came(self, node: Node, fence: Fence, ver: Version, index: int, size: int) -> None:
        if not node.alive or fence not in node.reads:
            self.lost_reads += 1
            return
        if node.reads[fence] == 0:
            del node.reads[fence]
            self.lost_reads += 1
            return
        last = index + 1 == self.plan.pieces
        length = (
            self.plan.pieces * UNKNOWN_LENGTH_PIECE_BYTES if last and not self.plan.known_length else None
        )
        body = b"x" if self.plan.pieces == 1 and self.plan.known_length else None
        self.act(
            node,
            node.lessee.received(fence, 1 << index, size * PIECE, self.now, length=length, body=body),
        )
        self.note_done(node)
        if fence in node.lessee.leases:
            self.piece(node, fence, ver, size)
        else:
            node.reads.pop(fence, None)

    def exchange(self, node: Node) -> None:
        """Peers pass pieces on, somehow."""
        if not node.alive:
            return
        mine = node.lessee
        others = [
            one.lessee
            for one in self.nodes.values()
            if one.alive and one.lessee.ver == mine.ver and one.wants
        ]
        if mine.ver is not None and mine.shape is not None and others and node.wants:
            want = self.rng.choice(others).have & ~mine.have
            small = mine.shape.small
            if small:
                holder = None if node.taking is None else self.nodes[node.taking].lessee
                want = holder.have & ~mine.have if holder is not None and holder.ver == mine.ver else 0
            if want:
                if mine.shape.length is None:
                    want &= ~(want & (want - 1))
                self.act(node, mine.got(want, tell=small))
                self.note_done(node)
        self.later(PEER_S, partial(self.exchange, node))

    # The judge.

    def judge_lease(self, referee: Referee, to: NodeId, give: Give) -> None:
        """Within one term no piece is leased again while its lease stands."""
        if give.ver is None or not give.count:
            return
        for index in range(give.first, give.first + give.count):
            owner = self.owners.get((give.term, index))
            if owner is not None and self.plan.changes == 0:
                fence, node = owner
                self.expect(
                    self.now >= self.void.get(fence, END_S)
                    or not self.nodes[node].alive
                    or node not in referee.members,
                    f"piece {index} is leased to {to} while {node} has it",
                )
            self.owners[give.term, index] = (give.fence, to)
        self.expect(referee.succession.term == give.term, "a lease of another's term")

    def check(self, node: Node) -> None:
        node.referee.check()
        node.lessee.check()

    def done(self) -> bool:
        wanting = [one for one in self.nodes.values() if one.alive and one.wants]
        return (
            all(one.lessee.done for one in wanting)
            and len(wanting) >= 1
            and self.now > self.plan.spread_s + 0.5
        )

    def run(self) -> None:
        while not self.done():
            self.expect(self.now < END_S, "it does not come to an end")
            self.now, _, action = heapq.heappop(self.events)
            action()

    @property
    def copies(self) -> int:
        """Pieces read from the origin, of all versions."""
        return sum(self.reads.values())


def simulate(seed: int, plan: Plan) -> World:
    """Run one world; a broken invariant names its seed and what happened last."""
    world = World(seed, plan)
    try:
        world.run()
    except (Broken, AssertionError) as error:
        recent = "\n  ".join(world.trace[-30:])
        raise Broken(f"seed {seed}, {plan}, at {world.now:.3f}: {error}\n  {recent}") from error
    return world


CLEAN = {
    "one": Plan(nodes=1),
    "two that do not know each other": Plan(nodes=2, views_s=1.0),
    "five": Plan(),
    "sixteen": Plan(nodes=16, pieces=200),
    "slow network": Plan(delay_s=0.1),
    "one can reach it": Plan(nodes=6, capable=1),
    "through gateways": Plan(capable=0, gateways=2),
    "views differ": Plan(nodes=6, views_s=1.5, pieces=120),
    "views differ on a slow network": Plan(nodes=6, views_s=1.5, pieces=120, delay_s=0.1),
    "views differ and only a gateway can": Plan(capable=0, gateways=2, views_s=1.5),
    "they come one by one": Plan(nodes=8, spread_s=3.0),
    "messages come twice": Plan(nodes=6, repeat=0.3),
    "no ranges": Plan(ranges=False),
    "no length": Plan(known_length=False, views_s=1.0),
    "no validator": Plan(validator=False),
    "small": Plan(nodes=16, pieces=1, views_s=1.0),
}
"""Whatever the order of messages and the views of the cluster: one copy."""

FAULTS = {
    "deaths": (Plan(nodes=8, deaths=3, pieces=150), 32),
    "deaths of referees": (Plan(nodes=8, referee_deaths=3, pieces=150), 32),
    "referees that forget": (Plan(nodes=8, amnesia=3, pieces=150), 8),
    "slow nodes": (Plan(nodes=8, slow_nodes=2, pieces=150), 16),
    "a split": (Plan(nodes=8, pieces=200, split_s=2.5), 200),
    "loss": (Plan(nodes=6, loss=0.1, views_s=1.0), 40),
    "an origin that fails": (Plan(nodes=6, failing=0.1, pieces=100), 0),
    "one read and deaths": (Plan(nodes=6, ranges=False, deaths=3), 80),
    "no length and deaths": (Plan(nodes=6, known_length=False, deaths=3), 80),
    "no validator and deaths": (Plan(nodes=6, validator=False, deaths=3), 80),
    "another version": (Plan(nodes=6, changes=2, pieces=100), 200),
    "everything": (
        Plan(
            nodes=8,
            pieces=100,
            failing=0.05,
            loss=0.05,
            repeat=0.1,
            deaths=1,
            referee_deaths=1,
            amnesia=1,
            slow_nodes=1,
            views_s=1.0,
        ),
        40,
    ),
}
"""What happens, and how many pieces may be read above one copy (a copy of each version that there was, or that had to begin anew)."""


def seeds() -> range:
    return range(int(ONE_SEED), int(ONE_SEED) + 1) if ONE_SEED else range(SEEDS)


@pytest.mark.parametrize("plan", CLEAN.values(), ids=CLEAN)
def test_one_copy_without_faults(plan: Plan) -> None:
    for seed in seeds():
        clean(seed, plan)


def clean(seed: int, plan: Plan) -> World:
    world = simulate(seed, plan)
    if world.copies != plan.pieces or max(world.reads.values()) != 1:
        raise Broken(f"seed {seed}: {world.copies} pieces were read of {plan.pieces}")
    return world


def bounded(seed: int, plan: Plan, most: int) -> World:
    world = simulate(seed, plan)
    if world.copies > plan.pieces + most:
        raise Broken(f"seed {seed}: {world.copies} pieces were read of {plan.pieces}")
    return world


@pytest.mark.parametrize(("plan", "most"), FAULTS.values(), ids=FAULTS)
def test_bounded_excess_and_an_end_with_faults(plan: Plan, most: int) -> None:
    happened = sum(bounded(seed, plan, most).faults for seed in seeds())
    assert happened or ONE_SEED or plan.loss or plan.slow_nodes or plan.changes, "no fault came in time"


@pytest.mark.parametrize("where", ["a split", "deaths of referees", "referees that forget", "everything"])
def test_in_the_end_one_reigns(where: str) -> None:
    for seed in range(SEEDS // 3):
        world = simulate(seed, FAULTS[where][0])
        world.plan.loss = 0.0
        until = world.now + 12.0
        while world.events[0][0] <= until:
            world.now, _, action = heapq.heappop(world.events)
            action()
        reigning = [
            node.name for node in world.nodes.values() if node.alive and node.referee.succession.reigns
        ]
        assert len(reigning) == 1, f"seed {seed}: {reigning} reign"


def test_a_small_object_is_one_request_for_many() -> None:
    world = simulate(3, Plan(nodes=16, pieces=1))
    assert sum(len(node.reads) for node in world.nodes.values()) <= 1


def test_the_same_seed_is_the_same_history() -> None:
    plan = FAULTS["everything"][0]
    assert simulate(7, plan).trace == simulate(7, plan).trace
    assert simulate(7, plan).trace != simulate(8, plan).trace


def test_revalidation_is_one_request_per_round() -> None:
    """Copies expire again and again, everywhere, while views differ."""
    for seed in range(3):
        world = World(seed, Plan(nodes=8, pieces=1, views_s=1.0))
        world.run()
        seen = dict.fromkeys(world.nodes, 0)
        for expiry in range(1, 11):
            until = world.now + 1.0
            for node in world.nodes.values():
                world.later(world.rng.random() * 0.2, partial(world.expires, node, seen))
            while world.events and world.events[0][0] <= until:
                world.now, _, action = heapq.heappop(world.events)
                action()
            seen |= dict(world.fresh)
            assert set(seen.values()) == {max(seen.values())}
            assert world.requests == expiry


def no_claim(self: Succession, now: float) -> list[Send]:
    self.role = Role.CLAIMING
    return self._reign(now)


def no_grace(self: Succession, now: float) -> list[Send]:
    self._exact, self.inherited = True, []
    return _reign(self, now)


def frees_at_once(self: Leases, now: float, wanted: object) -> list[Lease]:
    revoked = _expire(self, now, wanted)  # type: ignore[arg-type]
    for lease in revoked:
        self.active.pop(lease.fence, None)
    return revoked


def never_revokes(self: Leases, now: float, wanted: object) -> list[Lease]:
    return []


def leases_again(self: Leases) -> int:
    return self.all & ~(self.held | self.doubtful)


def uses_fences_twice(self: Obedience, fence: Fence) -> bool:
    return True


_reign, _expire = Succession._reign, Leases.expire
PLANTED: list[tuple[type, str, Any, str]] = [
    (Succession, "_claim", no_claim, "views differ on a slow network"),
    (Succession, "_reign", no_grace, "referees that forget"),
    (Leases, "expire", frees_at_once, "slow nodes"),
    (Leases, "expire", never_revokes, "loss"),
    (Leases, "free", property(leases_again), "five"),
    (Obedience, "begins", uses_fences_twice, "messages come twice"),
]


@pytest.mark.parametrize(
    ("owner", "name", "bug", "where"), PLANTED, ids=lambda one: getattr(one, "__name__", "")
)
def test_planted_bugs_are_caught(
    owner: type, name: str, bug: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, bug)
    caught = 0
    for seed in range(SEEDS):
        try:
            if where in CLEAN:
                clean(seed, CLEAN[where])
            else:
                bounded(seed, *FAULTS[where])
        except Broken:
            caught += 1
            break
    assert caught
