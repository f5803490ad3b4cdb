"""How long, how often and how many: the constants of membership and the formulas over the number of members.

Every bound of the package is here. Sources: SWIM (Das, Gupta, Motivala, DSN 2002), Lifeguard (arXiv 1707.00788), and the
defaults of memberlist and chitchat where they say so; the rest was chosen by simulating loss, stalls and splits.
"""

from __future__ import annotations

import math
from typing import Final

MAX_DATAGRAM_BYTES: Final = 1200
"""Longest datagram, sealed: passes IPv6's least MTU of 1,280 (RFC 8200 section 5) with its headers."""
SEAL_BYTES: Final = 64
"""Of a datagram, what is kept free for the envelope that seals it."""
MAX_PAYLOAD_BYTES: Final = MAX_DATAGRAM_BYTES - SEAL_BYTES
"""Longest message in a datagram."""
MAX_STREAM_BYTES: Final = 1 << 20
"""Longest message on a connection."""
MAX_ENTRIES: Final = 64
"""Entries of one datagram."""
MAX_BULK_ENTRIES: Final = 4096
"""Entries of one message on a connection; the next sync brings what was left out."""
MAX_BUCKETS: Final = 1024

MAX_MEMBERS: Final = 20_000
"""Members that are held at all, the dead among them; one more is not taken in."""
MIN_DEAD_KEPT: Final = 1000
"""Dead members that are held in any case; beyond that twice the number of the living, oldest out."""
MAX_QUEUED: Final = 1024
"""News waiting to be passed on; the one that was sent most often goes first."""
MAX_UNCONFIRMED: Final = 256
"""Datagrams whose acknowledgement would tell what the other side has learnt."""
MAX_RELAYS: Final = 64
"""Pings on behalf of others at one time."""
MAX_CHECKS: Final = 64
"""Final checks and checks of hearsay at one time; the others wait, or are told again."""
MAX_ACCUSERS: Final = 3
"""Accusers named by a suspicion: all that shorten it (Lifeguard's K = 2, and the first)."""
MAX_SEEDS: Final = 64

MAX_PACKETS_PER_S: Final = 200
"""Messages taken from one member in a second; all unknown senders together count as one member."""
MAX_CORRECTIONS_PER_S: Final = 20
MAX_SERVED_PER_S: Final = 16_000
"""Members compared or listed for others in a second: 160 joins in a cluster of a hundred, 16 syncs in one of a thousand. memberlist serves
128 at a time since 3,000 had cost it 7 GB."""

PING_GAP_S: Final = 0.15
"""Between the three pings of a probe; at least three round trips."""
RTT_GAPS: Final = 3.0
RTT_WEIGHT: Final = 0.125
"""Weight of a new round trip in the smoothed one (RFC 6298 section 2)."""
MAX_PING_GAP_S: Final = 0.3
"""Before local health stretches it; a final check, which health does not stretch, is over in 2 s."""
PROBE_PERIOD_S: Final = 1.0
"""SWIM's protocol period; stretched by local health (Lifeguard)."""
RELAYS_PER_PROBE: Final = 3
"""memberlist's IndirectChecks."""
RELAY_WAIT_S: Final = 0.25
"""After so long a relay tells that it got no answer, before the probe that asked for it ends."""
MAX_HEALTH: Final = 7
"""Worst local health: probes take eight times as long (memberlist's AwarenessMaxMultiplier)."""

SUSPICION_S: Final = 4.0
"""Shortest suspicion in small clusters (memberlist's SuspicionMult times its probe interval)."""
SUSPICION_STRETCH: Final = 6.0
"""Longest suspicion, in shortest ones (memberlist's SuspicionMaxTimeoutMult)."""
MAX_CONFIRMATIONS: Final = 2
URGED: Final = 4
"""How many members, about, ask a suspect next of whom they are told: enough to confirm or to clear it."""
FINAL_JITTER_S: Final = 1.0
ISOLATED_S: Final = 10.0
"""After so long without a word from anybody this node doubts itself: its suspicions run at half speed."""
ISOLATED_RATE: Final = 0.5
STALL_S: Final = 0.5
"""A timer that fires later than this means that the loop stood still, not that the others did."""
STALL_SYNC_S: Final = 1.0

GOSSIP_PERIOD_S: Final = 0.2
GOSSIP_TARGETS: Final = 3
"""memberlist's GossipNodes; with the period 15 datagrams a second at most."""
RETRANSMIT: Final = 4
"""memberlist's RetransmitMult."""
BULK_TRANSMISSIONS: Final = 2
"""For what came in bulk: the others learn it the same way."""
ALL_TOLD_MAX: Final = 32
"""Up to so many members every news goes to every member until it is acknowledged: counted transmissions are too few there."""
MAX_TRIES: Final = 6
"""Datagrams to one member about one news; then it is left to the sync."""
TRY_GAP_S: Final = 0.2
"""Before the second try; doubles with each further one."""
CONFIRM_S: Final = 2.0
"""How long an acknowledgement still counts."""

SYNC_S: Final = 30.0
"""memberlist's PushPullInterval."""
SYNC_SOON_S: Final = (3.0, 7.0)
SYNC_NOW_S: Final = (0.5, 1.5)
SYNC_FEW: Final = 4
SYNC_MANY: Final = 32
JOIN_RETRY_S: Final = 0.5
JOIN_RETRY_MAX_S: Final = 10.0
MAX_ASKED: Final = 16
"""Joins and syncs of this node that may still be answered."""
JOIN_PINGS: Final = 3
SEED_S: Final = 60.0
DEAD_CONTACT_S: Final = 10.0
DEAD_CONTACT_SMALL_S: Final = 2.0
DEAD_CONTACT_SMALL_MAX: Final = 100
"""Up to so many members the dead are called more often: a split of a small cluster heals in seconds."""
TOMBSTONE_S: Final = 3600.0
"""How long a death is told to others. Longer than any news can travel, so that hearsay can't revive (memberlist issue 312)."""
MEMORY_S: Final = 24 * 3600.0
"""How long a death is remembered, and the dead called."""
PRUNE_S: Final = 10.0
LEAVE_TARGETS: Final = 8
LEAVE_TIMES: Final = 3
REFUTE_GAP_S: Final = 1.0
"""Between two answers to somebody who lives under this node's name."""


def confirmations(live: int) -> int:
    """How many independent confirmations make a suspicion its shortest, among `live` members (Lifeguard section IV-B)."""
    return max(min(MAX_CONFIRMATIONS, live - 3), 0)


def suspicion_s(live: int, confirmed: int) -> float:
    """How long a suspicion lasts that `confirmed` others share, among `live` members (Lifeguard's formula)."""
    shortest = SUSPICION_S * max(1.0, math.log10(max(live, 1)))
    wanted = confirmations(live)
    if wanted == 0:
        return shortest
    longest = shortest * SUSPICION_STRETCH
    share = math.log(min(confirmed, wanted) + 1) / math.log(wanted + 1)
    return max(shortest, longest - (longest - shortest) * share)


def transmissions(live: int) -> int:
    """How often one news is passed on among `live` members (SWIM section 4.1, memberlist's multiplier)."""
    return RETRANSMIT * math.ceil(math.log10(live + 1))


def buckets(live: int) -> int:
    """Into how many parts a sync divides the members: about eight in each."""
    return min(max(16, 1 << max(live // 8, 1).bit_length()), MAX_BUCKETS)


def sync_delay_s(differences: int, chance: float) -> float:
    """When to sync again after `differences` were found; `chance` in 0..1 spreads the members."""
    if differences < SYNC_FEW:
        return SYNC_S * (0.75 + chance / 2)
    low, high = SYNC_NOW_S if differences > SYNC_MANY else SYNC_SOON_S
    return low + (high - low) * chance


def dead_contact_s(live: int) -> float:
    """How often one of the dead is called."""
    return DEAD_CONTACT_SMALL_S if live <= DEAD_CONTACT_SMALL_MAX else DEAD_CONTACT_S
