"""Whose turn it is, and the steps of a probe."""

from __future__ import annotations

import random

import pytest

from p2pstore.gossip import timing
from p2pstore.gossip.probing import Probe, Probing, Purpose, Step
from tests.gossip.samples import alive, ident

TARGET = ident(1)


def probing(seed: int = 1) -> Probing:
    return Probing(random.Random(seed))


def start(core: Probing, purpose: Purpose = Purpose.ROUTINE, patience: int = 0) -> Probe:
    hearsay = alive(1) if purpose is Purpose.HEARSAY else None
    assert core.start(TARGET, purpose, 10.0, patience=patience, hearsay=hearsay)
    (probe,) = [probe for probe, step in core.take_due(10.0) if step is Step.PING]
    return probe


def steps(core: Probing, until: float = 99.0) -> list[tuple[float, Step]]:
    found = []
    while (at := core.next_at()) is not None and at <= until:
        found += [(round(at - 10.0, 3), step) for _, step in core.take_due(at)]
    return found


@pytest.mark.parametrize(
    ("purpose", "plan"),
    [
        (
            Purpose.ROUTINE,
            "0.15 ping, 0.3 ping, 0.5 relay, 0.5 connect, 0.7 relay, 1.0 end",
        ),
        (Purpose.FINAL, "0.15 ping, 0.3 ping, 1.0 end"),
        (Purpose.HEARSAY, "0.15 ping, 0.3 ping, 1.0 end"),
    ],
)
def test_plans(purpose: Purpose, plan: str) -> None:
    core = probing()
    start(core, purpose)
    assert ", ".join(f"{at} {step.value}" for at, step in steps(core)) == plan
    assert len(core) == 0


def test_a_final_check_begins_with_a_connection_as_well() -> None:
    core = probing()
    core.start(TARGET, Purpose.FINAL, 10.0)
    assert [step for _, step in core.take_due(10.0)] == [Step.PING, Step.CONNECT]


def test_patience_stretches_all_steps() -> None:
    core = probing()
    start(core, patience=7)
    assert steps(core)[-1] == (8.0, Step.END)


@pytest.mark.parametrize(
    ("round_trip_s", "gap_s"), [(0.001, 0.15), (0.08, 0.24), (9.0, timing.MAX_PING_GAP_S)]
)
def test_pings_wait_for_three_round_trips_within_bounds(round_trip_s: float, gap_s: float) -> None:
    core = probing()
    core.answered(start(core), 10.0 + round_trip_s)
    core.heard(TARGET)
    assert start(core).gap_s == pytest.approx(gap_s)


def test_a_round_trip_of_which_ping_is_not_counted() -> None:
    core = probing()
    probe = start(core)
    core.take_due(10.2)
    core.answered(probe, 10.21)
    assert core.rtt_s == 0.0


def test_a_sign_of_life_ends_probes_but_hearsay_wants_its_own_word() -> None:
    core = probing()
    for purpose in Purpose:
        start(core, purpose)
    assert {probe.purpose for probe in core.heard(TARGET)} == {Purpose.ROUTINE, Purpose.FINAL}
    assert core.running(Purpose.HEARSAY) == len(core) == 1
    assert core.targets(Purpose.HEARSAY) == {TARGET} and core.targets(Purpose.FINAL) == set()


def test_a_target_is_probed_once_for_one_purpose_and_checks_are_bounded() -> None:
    core = probing()
    start(core, Purpose.FINAL)
    assert not core.start(TARGET, Purpose.FINAL, 10.0)
    for number in range(2, 200):
        core.start(ident(number), Purpose.FINAL, 10.0)
    assert core.running(Purpose.FINAL) == timing.MAX_CHECKS


def test_after_a_stall_probes_begin_again_and_round_trips_are_not_counted() -> None:
    core = probing()
    probe = start(core)
    core.take_due(10.4)
    core.begin_again(15.0)
    assert [step for _, step in core.take_due(15.0)] == [Step.PING]
    core.answered(probe, 15.1)
    assert core.rtt_s == 0.0
    assert steps(core)[-1] == (6.0, Step.END)


ME = ident(10)


def test_everybody_is_asked_once_in_a_round_and_the_neighbour_every_other_time() -> None:
    core, others = probing(), [ident(number) for number in range(20) if number != 10]
    for _ in range(5):
        asked = [core.next_target(others, ME) for _ in range(2 * len(others))]
        assert set(asked[::2]) == {ident(11)}
        assert sorted(filter(None, asked[1::2])) == others


def test_the_last_in_the_ring_asks_the_first() -> None:
    assert probing().next_target([ident(1), ident(2)], ME) == ident(1)


def test_newcomers_come_into_the_running_round_and_the_gone_out_of_it() -> None:
    core, others = probing(), [ident(number) for number in range(20)]
    for _ in range(10):
        core.next_target(others, ME)
    others = [*others[1:], ident(99)]
    asked = [core.next_target(others, ME) for _ in range(32)]
    assert ident(99) in asked and ident(0) not in asked


def test_a_suspect_of_others_is_asked_next_while_it_is_a_member() -> None:
    core, others = probing(), [ident(number) for number in range(9)]
    core.urge(ident(5))
    assert core.next_target(others, ME) == ident(5)
    core.urge(ident(50))
    assert core.next_target(others, ME) == ident(0)


def test_nobody_to_ask() -> None:
    assert probing().next_target([], ME) is None
