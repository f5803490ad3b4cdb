"""What is taken at all."""

from __future__ import annotations

import pytest

from p2pstore.gossip import timing
from p2pstore.gossip.admission import Admission
from p2pstore.gossip.messages import Join, Message, Nack, encode
from tests.gossip.samples import alive, ident

NACK = Nack(b"12345678")


def admit(core: Admission, payload: bytes, sender: int = 1, now: float = 0.0, **how: bool) -> Message | None:
    return core.admit(payload, ident(sender), now, **{"known": True, "reliable": False, **how})


def test_a_sound_message_is_taken() -> None:
    core = Admission(ident(0))
    assert admit(core, encode(NACK)) == NACK
    assert not core.dropped


@pytest.mark.parametrize(
    ("payload", "sender", "reason"),
    [
        (encode(NACK), 0, "own id"),
        (b"", 1, "unreadable"),
        (b"\xc1", 1, "unreadable"),
        (bytes(timing.MAX_PAYLOAD_BYTES + 1), 1, "unreadable"),
        (b"\x91\x63", 1, "unknown kind"),
        (encode(Join(b"12345678", alive(1))), 1, "bulk in a datagram"),
    ],
)
def test_all_else_is_counted(payload: bytes, sender: int, reason: str) -> None:
    core = Admission(ident(0))
    assert admit(core, payload, sender) is None
    assert core.dropped == {reason: 1}


def test_bulk_comes_on_connections() -> None:
    assert admit(Admission(ident(0)), encode(Join(b"12345678", alive(1))), reliable=True) is not None


def test_each_member_has_its_own_cap_and_all_strangers_one() -> None:
    core = Admission(ident(0))
    taken = [admit(core, encode(NACK), 1) for _ in range(500)]
    assert sum(message is not None for message in taken) == timing.MAX_PACKETS_PER_S // 2
    assert admit(core, encode(NACK), 2) is not None
    strangers = [admit(core, encode(NACK), number, known=False) for number in range(3, 500)]
    assert sum(message is not None for message in strangers) == timing.MAX_PACKETS_PER_S // 2
    assert len(core) == 3
    core.retain({ident(2)})
    assert len(core) == 2
