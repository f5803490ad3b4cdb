"""The cluster keys that a node holds while one takes the place of another. Pure.

The first key seals, signs and names; all of them open. To rotate without a gap every node gets the new key behind the old one, then
every node uses it, then every node drops the old one (the way of memberlist's keyring).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from p2pstore.errors import BadConfig
from p2pstore.trust.cluster_key import WORD_CHARS, ClusterKey

MAX_KEYS: Final = 3
MAX_TEXT_CHARS: Final = 4096
"""Length of a key file; the rest of it beside MAX_KEYS words is blank lines and comments."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """One to MAX_KEYS different keys, the current one first. Raises BadConfig for none, too many or one twice."""

    keys: tuple[ClusterKey, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.keys) <= MAX_KEYS:
            raise BadConfig(
                f"a node holds 1 to {MAX_KEYS} cluster keys, not {len(self.keys)}",
                hint="remove keys from the key file that no node uses any more",
            )
        if len(set(self.keys)) != len(self.keys):
            raise BadConfig("a cluster key is there twice", hint="remove one of the two lines")

    @property
    def current(self) -> ClusterKey:
        """The key that seals and signs."""
        return self.keys[0]

    @property
    def previous(self) -> tuple[ClusterKey, ...]:
        """The keys that only open."""
        return self.keys[1:]

    def hinted(self, hint: int) -> tuple[ClusterKey, ...]:
        """The keys that something with this hint may have been sealed with, mostly one."""
        return tuple(key for key in self.keys if key.hint == hint)

    def adding(self, key: ClusterKey) -> Self:
        """The ring in which `key` opens too; the same ring when it did already. Raises BadConfig when it is full."""
        return self if key in self.keys else type(self)((*self.keys, key))

    def using(self, cluster_id: str) -> Self:
        """The ring in which the key of that id is the current one; raises BadConfig when it is not there."""
        key = self._named(cluster_id)
        return type(self)((key, *(other for other in self.keys if other != key)))

    def removing(self, cluster_id: str) -> Self:
        """The ring without the key of that id; raises BadConfig for the current key and for one that is not there."""
        key = self._named(cluster_id)
        if key == self.current:
            raise BadConfig(f"key {cluster_id} is in use", hint="use another key first")
        return type(self)(tuple(other for other in self.keys if other != key))

    def _named(self, cluster_id: str) -> ClusterKey:
        for key in self.keys:
            if key.cluster_id == cluster_id:
                return key
        raise BadConfig(f"no key of the ring has the id {cluster_id[:140]!r}", hint="add the key first")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a key file: one key a line, the current one first; blank lines and `#` comments count for nothing.

        Raises BadConfig with the number of the line, without quoting any of it.
        """
        if len(text) > MAX_TEXT_CHARS:
            raise BadConfig(
                f"the key file is longer than {MAX_TEXT_CHARS} characters", hint="name another file"
            )
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        keyed = [(number, line) for number, line in lines if line and not line.startswith("#")]
        return cls(tuple(_key_of(number, line) for number, line in keyed))

    def to_text(self) -> str:
        """The ring as the text of a key file. It is secret."""
        return "".join(f"{key.to_text()}\n" for key in self.keys)


def _key_of(number: int, line: str) -> ClusterKey:
    if len(line) > 2 * WORD_CHARS:
        raise BadConfig(f"line {number} of the key file is no cluster key", hint="name another file")
    try:
        return ClusterKey.from_text(line)
    except BadConfig as error:
        raise BadConfig(f"line {number} of the key file: {error.message}", hint=error.hint) from None
