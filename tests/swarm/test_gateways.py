"""Gateways: one at a time, the next when one does not come."""

from __future__ import annotations

from p2pstore.swarm.gateways import STAGE_S, Gateways
from p2pstore.types import NodeId

A, B = NodeId("a"), NodeId("b")


def gateways(*nodes: NodeId) -> Gateways:
    one = Gateways()
    one.view(nodes)
    return one


def test_the_best_is_asked_and_has_its_time_then_the_next() -> None:
    one = gateways(A, B)
    assert one.enlist(lambda _: True, 0.0) == A
    assert one.enlist(lambda _: True, STAGE_S * 0.9) is None
    assert one.enlist(lambda _: True, STAGE_S) == B
    assert one.enlist(lambda _: True, 2 * STAGE_S) == A


def test_those_that_may_not_are_passed_over() -> None:
    one = gateways(A, B)
    assert one.enlist(lambda node: node == B, 0.0) == B
    assert one.enlist(lambda node: False, STAGE_S) is None


def test_no_gateway_is_no_answer() -> None:
    assert gateways().enlist(lambda _: True, 0.0) is None


def test_an_unchanged_view_does_not_begin_from_the_front() -> None:
    one = gateways(A, B)
    assert one.enlist(lambda _: True, 0.0) == A
    one.view([A, B])
    assert one.enlist(lambda _: True, STAGE_S) == B
    one.view([B])
    assert one.enlist(lambda _: True, 2 * STAGE_S) == B
