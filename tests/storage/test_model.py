"""Any sequence of acts, kills and reboots: the store answers as a dictionary would, or has less, never anything else."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pstore.storage.layout import object_path
from p2pstore.storage.store import Store
from p2pstore.types import Key, Version
from tests.conftest import SOAKING
from tests.storage.samples import (
    QUOTA,
    body,
    config,
    draft,
    files_below,
    key_of,
    killed,
    load,
    put_draft,
    read,
    ver_of,
)

pytestmark = pytest.mark.timeout(300)
T = TypeVar("T")
NAMES = st.sampled_from(["a", "b", "c"])
VERSIONS = st.sampled_from("123")
SIZES = st.sampled_from([0, 1, 1000, 70_000])


class Machine(RuleBasedStateMachine):
    """The store beside a dictionary of versions, and one of results."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "c"
        self.versions: dict[tuple[Key, Version], bytes] = {}
        self.current: dict[Key, Version] = {}
        self.results: dict[Key, bytes] = {}
        self.boot = 1
        self.serial = 0

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def start(self) -> None:
        self.store = Store.open(config(), str(self.root), boot_id=f"boot-{self.boot}")
        self.wait(self.store.start())

    def teardown(self) -> None:
        self.wait(self.store.aclose())
        self.wait(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()

    @rule(name=NAMES, version=VERSIONS, size=SIZES, large=st.booleans(), same=st.booleans())
    def publish(self, name: str, version: str, size: int, large: bool, same: bool) -> None:
        self.serial += 1
        content = body("same" if same else self.serial, size)
        one = draft(name, version)
        work = load(self.store, one, content) if large else self.store.publish_small(one, content)
        self.wait(work)
        self.versions[one.key, one.ver] = content
        self.current[one.key] = one.ver

    @rule(name=NAMES, size=SIZES)
    def put(self, name: str, size: int) -> None:
        self.serial += 1
        content = body(self.serial, size)
        source = Path(self.folder.name) / "source"
        source.write_bytes(content)
        with source.open("rb") as file:
            self.wait(self.store.import_put(put_draft(name), file.fileno(), replace=True))
        self.results[put_draft(name).key] = content

    @rule(name=NAMES, version=VERSIONS)
    def remove_version(self, name: str, version: str) -> None:
        key, ver = key_of(name), ver_of(name, version)
        there = self.versions.pop((key, ver), None) is not None
        if self.current.get(key) == ver:
            del self.current[key]
        assert self.wait(self.store.remove(key, ver)) == there

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.wait(self.store.remove(key_of(name)))
        for known in [known for known in self.versions if known[0] == key_of(name)]:
            del self.versions[known]
        self.current.pop(key_of(name), None)

    @rule(name=NAMES)
    def remove_result(self, name: str) -> None:
        self.wait(self.store.remove(put_draft(name).key))
        self.results.pop(put_draft(name).key, None)

    @rule(name=NAMES)
    def refresh(self, name: str) -> None:
        entry = self.wait(self.store.lookup(key_of(name)))
        if entry is not None:
            self.serial += 1
            fresh = self.wait(self.store.refresh(entry.with_changes(response_at=float(self.serial))))
            again = self.wait(self.store.lookup(key_of(name)))
            assert again is not None and again.response_at == fresh.response_at == self.serial

    @rule()
    def evict(self) -> None:
        self.wait(self.store.evict(QUOTA - 1))
        self._forget_missing(set(self.versions))

    @rule()
    def flush(self) -> None:
        assert self.wait(self.store._flusher.flush())

    @rule(clean=st.booleans(), index=st.sampled_from(["kept", "kept", "deleted"]))
    def restart(self, clean: bool, index: str) -> None:
        """A stop or a kill within one boot loses nothing."""
        self.wait(self.store.aclose() if clean else killed(self.store))
        self._forget_index(index)
        self.start()

    @rule(torn=st.booleans(), index=st.sampled_from(["kept", "kept", "deleted"]))
    def power_cut(self, torn: bool, index: str) -> None:
        """After another boot what was not flushed may be gone; here it is torn or not."""
        rows = self.wait(_rows(self.store))
        roots = {row.entry.root for row in rows if row.seq > 0} if torn else set()
        doubtful = {
            (row.entry.key, row.entry.ver) for row in rows if row.entry.root in roots and not row.entry.is_put
        }
        self.wait(killed(self.store))
        for row in rows:
            path = self.root / object_path(row.area, row.entry.root)
            if (row.entry.key, row.entry.ver) in doubtful and path.exists():
                path.chmod(0o600)
                path.write_bytes(bytes(row.entry.size_bytes))
        self._forget_index(index)
        self.boot += 1
        self.start()
        self._forget_missing(doubtful)

    def _forget_missing(self, doubtful: set[tuple[Key, Version]]) -> None:
        """These may be gone; what is there counts, and must be right."""
        for key, ver in doubtful & set(self.versions):
            if self.wait(self.store.lookup_version(key, ver)) is None:
                del self.versions[key, ver]
                if self.current.get(key) == ver:
                    del self.current[key]

    def _forget_index(self, index: str) -> None:
        if index == "deleted":
            (self.root / "index.sqlite").unlink()

    @rule()
    def recover(self) -> None:
        self.wait(self.store._recovery.wait(30))

    @invariant()
    def answers_as_the_dictionary(self) -> None:
        for name in "abc":
            self.wait(self._check(key_of(name)))
            result = self.wait(self.store.lookup(put_draft(name).key))
            found = None if result is None else read(self.store, result)
            assert found == self.results.get(put_draft(name).key), "a result is there or was removed"

    async def _check(self, key: Key) -> None:
        entry = await self.store.lookup(key)
        assert (None if entry is None else entry.ver) == self.current.get(key)
        for (known, version), content in self.versions.items():
            if known == key:
                one = await self.store.lookup_version(key, version)
                assert one is not None and read(self.store, one) == content

    @precondition(lambda self: hasattr(self, "store") and not self.store._disk.rebuilding)
    @invariant()
    def sums_are_right(self) -> None:
        disk = self.store._disk
        rows = self.wait(_rows(self.store))
        shared = {(row.area, row.entry.root): row.object_bytes for row in rows}
        assert disk.index.entry_bytes == sum(row.extra_bytes for row in rows) + sum(shared.values())
        assert disk.index.entries == len(rows)
        assert not [name for name in files_below(self.root) if name.startswith(("tmp/", "trash/"))]


async def _rows(store: Store) -> list[Any]:
    return await store._writer.run(lambda: store._disk.index.select("1"))


TestModel = Machine.TestCase
TestModel.settings = settings(
    max_examples=400 if SOAKING else 10, stateful_step_count=20, deadline=None, print_blob=True
)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Reboots drop entries by the hundred."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
