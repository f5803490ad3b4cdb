"""Members to test with: `ident(n)` is a node id that begins with n, `alive(n)` what that node says of itself."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import strategies as st

from p2pstore.gossip.decisions import Decision, Send
from p2pstore.gossip.members import Accusation, Address, Alive, Contact, Entry, Stamp, State, accuser
from p2pstore.gossip.membership import Membership
from p2pstore.gossip.messages import Message, decode
from p2pstore.gossip.timing import MAX_ACCUSERS, MAX_STREAM_BYTES
from p2pstore.types import NodeId


def ident(number: int) -> NodeId:
    return NodeId(number.to_bytes(4, "big").hex() * 8)


def address(number: int) -> Address:
    return Address(f"10.0.{number // 256}.{number % 256}", 7000)


def alive(number: int, gen: int = 1, inc: int = 0, *, at: int | None = None, boot: int = 7) -> Alive:
    contact = Contact(address(number if at is None else at), 8000, "rack-1", 3, boot)
    return Alive(ident(number), Stamp(gen, inc), contact)


def accusation(
    number: int, state: State, gen: int = 1, inc: int = 0, accusers: Iterable[int] = ()
) -> Accusation:
    named = tuple(sorted(accuser(ident(one)) for one in accusers))
    return Accusation(ident(number), Stamp(gen, inc), state, named)


def membership(number: int = 0, *, seeds: Iterable[int] = (), now: float = 0.0, seed: int = 1) -> Membership:
    places = [address(one) for one in seeds]
    return Membership(alive(number), seeds=places, now=now, rng=random.Random(seed))


def sent(decisions: list[Decision]) -> list[tuple[NodeId | None, Message]]:
    """To whom which messages go."""
    found = []
    for decision in decisions:
        if isinstance(decision, Send):
            message = decode(decision.payload, MAX_STREAM_BYTES)
            assert message is not None
            found.append((decision.node, message))
    return found


_stamps = st.builds(Stamp, st.integers(1, 3), st.integers(0, 3))
_contacts = st.builds(
    Contact, st.builds(address, st.integers(1, 3)), st.just(1), st.just(""), st.just(0), st.integers(0, 2)
)
_accusers = st.sets(st.sampled_from([accuser(ident(one)) for one in range(6)]), max_size=MAX_ACCUSERS)


def entries(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Entry]:
    """Any entry about one of the members."""
    nodes = numbers.map(ident)
    states = st.sampled_from([State.SUSPECT, State.DEAD, State.LEFT])
    return st.builds(Alive, nodes, _stamps, _contacts) | st.builds(
        Accusation, nodes, _stamps, states, _accusers.map(lambda names: tuple(sorted(names)))
    )
