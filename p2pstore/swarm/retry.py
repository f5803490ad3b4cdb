"""When to try again: exponential waits with jitter, and what the origin said about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

MAX_WAIT_S: Final = 30.0
"""The longest wait that is our own choice; an origin may ask for a longer one (Retry-After)."""
RETRY_AFTER_SPREAD: Final = 0.1
"""Part of a Retry-After by which the wait is made longer at random, so that those sent away don't return together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """`retries` tries after the first that brought nothing; `wait_s` before the first of them, then doubled.

    A Retry-After above `retry_after_max_s` ends it at once.
    """

    retries: int = 5
    wait_s: float = 0.5
    retry_after_max_s: float = 120.0


def decide(
    error_retryable: bool, attempt: int, retry_after_s: float | None, rules: RetryRules, rng: Random
) -> float | None:
    """Seconds to wait before trying again, or None to give up.

    `attempt` counts the failures without progress before this one, from 0. Our own wait is between half and all of
    `wait_s * 2 ** attempt`, never above MAX_WAIT_S; a Retry-After (RFC 9110 10.2.3) is never undercut.
    """
    if not error_retryable or attempt >= rules.retries:
        return None
    # The exponent is bounded because retries is; 2**64 of anything is above MAX_WAIT_S already.
    wait_s = min(rules.wait_s * 2.0 ** min(attempt, 64), MAX_WAIT_S) * (0.5 + rng.random() / 2)
    if retry_after_s is None:
        return wait_s
    if retry_after_s > rules.retry_after_max_s:
        return None
    return max(wait_s, retry_after_s * (1.0 + RETRY_AFTER_SPREAD * rng.random()))


class Backoff:
    """The failures of one transfer in a row; progress forgets them."""

    def __init__(self, rules: RetryRules, rng: Random) -> None:
        self.rules = rules
        self.attempts = 0
        """Failures since the last progress."""
        self._rng = rng

    def failed(self, error_retryable: bool, retry_after_s: float | None = None) -> float | None:
        """Count a failure: seconds to wait before the next try, or None to give up."""
        wait_s = decide(error_retryable, self.attempts, retry_after_s, self.rules, self._rng)
        self.attempts += 1
        return wait_s

    def progressed(self) -> None:
        """New bytes came in: the next failure is a first one."""
        self.attempts = 0
