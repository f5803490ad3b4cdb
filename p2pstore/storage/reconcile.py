"""Bringing rows and files together again after a kill, a power cut or a lost index. Runs on the store thread, in slices.

Files win: a record that can be read and whose object is there is an entry, whatever the index says. A row helps out where a
record is missing or torn and the object is there. Objects that nobody names go at the very end, when all records were read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from p2pstore.storage.disk import Disk, in_folder
from p2pstore.storage.files import FileState
from p2pstore.storage.index import DOOMED, SUSPECT, Row, short
from p2pstore.storage.layout import AREA_NAMES, FAN_OUT, META, TRASH, Area, area_of, record_path
from p2pstore.types import Entry, Key, Version
from p2pstore.wire.records import encode_record

SLICE: Final = 500
"""Keys brought in order in one transaction; about 20 ms, after which publishing gets its turn."""


def adopt(disk: Disk, key: Key, ver: Version | None = None) -> Row | None:
    """Find an entry by the path of its record and give it a row, unless it has one; inside a transaction."""
    for area in (Area.PUB, Area.PUT):
        entry = disk.read_record(area, key, ver)
        state = None if entry is None else disk.object_state(area_of(entry), entry)
        if entry is None or state is None:
            continue
        known = disk.index.version(key, entry.ver)
        if known is not None:
            return known
        current = ver is None and disk.index.current(key) is None
        return _insert(disk, entry, state, current=current)
    return None


def _adopt_new(disk: Disk, area: Area, key: Key) -> bool:
    """The same for the current record of a key that has no row at all, which is most of what a new index is made of."""
    entry = disk.read_record(area, key)
    state = None if entry is None else disk.object_state(area_of(entry), entry)
    if entry is None or state is None:
        return False
    _insert(disk, entry, state, current=True)
    return True


def freshen(disk: Disk, key: Key, ver: Version | None = None) -> None:
    """While the index is not whole: make what it says of a key true before anything is decided by it; inside a transaction.

    After a power cut it may be older than the files. For cached copies that is only a pity, but a stored result that was
    acknowledged, replaced or removed must be so from the first moment on.
    """
    adopt(disk, key)
    if ver is not None:
        adopt(disk, key, ver)
    if any(row.area is Area.PUT for row in disk.index.versions(key)):
        settle(disk, Area.PUT, key, superseded_on_disk(disk, Area.PUT, key))


def adopt_all(disk: Disk, key: Key) -> None:
    """Give every version of a key on the disk its row; inside a transaction."""
    freshen(disk, key)
    for area in (Area.PUB, Area.PUT):
        for ver in superseded_on_disk(disk, area, key):
            adopt(disk, key, ver)


def superseded_on_disk(disk: Disk, area: Area, key: Key) -> list[Version]:
    """The versions of a key that have a superseded record."""
    folder = record_path(area, key).rpartition("/")[0]
    names = (name.removesuffix(".r") for name in disk.files.names(folder) if name.startswith(f"{key}."))
    return [Version(ver) for _, _, ver in (name.partition(".") for name in names) if len(ver) == 32]


def _insert(disk: Disk, entry: Entry, state: FileState, *, current: bool) -> Row:
    """A row for an entry that was found on the disk; written in another boot and never flushed, it is a suspect."""
    record = encode_record(entry)
    if entry.durable:
        seq = 0
    else:
        seq = disk.next_seq() if entry.boot_id == disk.boot_id else SUSPECT
    return disk.index.insert(
        entry,
        current=current,
        seq=seq,
        # Who was used when is lost with the index; the time of storing is the best guess.
        access=int(entry.stored_at),
        object_bytes=disk.object_charge(entry.size_bytes, entry.piece_bytes),
        extra_bytes=disk.extra_charge(record),
        mtime_ns=state.mtime_ns,
        record=record,
    )


def settle(disk: Disk, area: Area, key: Key, on_disk: Iterable[Version] = ()) -> None:
    """Make the rows of a key and its files agree, inside a transaction.

    `on_disk` are versions that have a superseded record; those of the rows are looked for anyway.
    """
    live: dict[Version, Row] = {}
    for row in disk.index.versions(key):
        if row.seq == DOOMED:
            _finish_removal(disk, row)
        else:
            live[row.entry.ver] = row
    chosen = disk.read_record(area, key)
    if chosen is None or not disk.has_object(area_of(chosen), chosen):
        # The record of a stored result is flushed: one that is not there was removed, and stays so.
        was_there = _drop_record(disk, record_path(area, key))
        chosen = _restored(disk, live.values()) if was_there or area is not Area.PUT else None
    for ver in sorted({*live, *on_disk}):
        if chosen is None or ver != chosen.ver:
            older = disk.read_record(area, key, ver)
            if older is None or not disk.has_object(area_of(older), older):
                _drop_record(disk, record_path(area, key, ver))
                older = None
            _agree(disk, live.get(ver), older, current=False)
    if chosen is not None:
        _drop_record(disk, record_path(area, key, chosen.ver))
        _agree(disk, live.get(chosen.ver), chosen, current=True)


def _finish_removal(disk: Disk, row: Row) -> None:
    ver = None if row.current else row.entry.ver
    entry = disk.read_record(row.area, row.entry.key, ver)
    if entry is None or entry.ver == row.entry.ver:
        _drop_record(disk, record_path(row.area, row.entry.key, ver))
    _drop(disk, row)


def _restored(disk: Disk, rows: Iterable[Row]) -> Entry | None:
    """Write a lost record again from the row of a current version whose object is there."""
    row = next((row for row in rows if row.current and disk.has_object(row.area, row.entry)), None)
    if row is None:
        return None
    put = row.area is Area.PUT
    entry = row.entry.with_changes(durable=put)
    temporary = disk.temporary()
    disk.write_file(temporary, encode_record(entry), 0o600, sync=put)
    path = record_path(row.area, entry.key)
    disk.files.rename(temporary, path)
    if put:
        disk.files.sync_folder(path.rpartition("/")[0])
    return entry


def _agree(disk: Disk, row: Row | None, entry: Entry | None, *, current: bool) -> None:
    if row is not None and (entry is None or row.entry.root != entry.root):
        _drop(disk, row)
        row = None
    if row is not None and row.current != current:
        disk.index.set_current(row, current)
    if row is None and entry is not None and (state := disk.object_state(area_of(entry), entry)) is not None:
        _insert(disk, entry, state, current=current)


def _drop(disk: Disk, row: Row) -> None:
    # While records are still unread, another one may name the object.
    if disk.index.delete(row) and not disk.rebuilding:
        disk.unlink_object(row.area, row.entry.root)


def unsettled(disk: Disk) -> Iterator[int]:
    """After a start: look at what was written or removed last; yields the number of keys after each slice."""
    after = 0
    while rows := disk.index.select("seq != 0 AND id > ?", (after,), limit=SLICE):
        with disk.index.change():
            for row in rows:
                settle(disk, row.area, row.entry.key)
        after = rows[-1].id
        yield len(rows)


def scan(disk: Disk) -> Iterator[int]:
    """Go through all records and objects; yields the number of names after each slice. At its end the index is complete."""
    disk.index.hurry(True)
    for folder in (META, "put"):
        for part in FAN_OUT:
            yield from _scan_records(disk, folder, part)
    for area in Area:
        for part in FAN_OUT:
            yield from _scan_rows(disk, area, part)
    disk.index.hurry(False)
    disk.rebuilding = False
    for area in Area:
        for part in FAN_OUT:
            yield from _scan_orphans(disk, area, part)


def _scan_records(disk: Disk, folder: str, part: str) -> Iterator[int]:
    area = Area.PUT if folder == "put" else Area.PUB
    names: dict[Key, set[Version | None]] = defaultdict(set)
    for name in disk.files.names(f"{folder}/{part}"):
        if area is Area.PUT and not name.endswith(".r"):
            continue
        key, _, ver = name.removesuffix(".r").partition(".")
        if len(key) == 64:
            names[Key(key)].add(Version(ver) if ver else None)
    low, high = in_folder(part)
    put = area is Area.PUT
    for key8 in {shape[0] for shape in disk.index.shapes(low, high, put=put)} - {short(key) for key in names}:
        # A row whose record is gone; the key's name is in the row.
        for row in disk.index.select("key8 = ?", (key8,)):
            names[row.entry.key].add(row.entry.ver)
    pairs = iter(names.items())
    while some := dict(islice(pairs, SLICE)):
        with disk.index.change():
            _settle_differing(disk, area, part, some)
        yield len(some)


def _settle_differing(disk: Disk, area: Area, part: str, names: dict[Key, set[Version | None]]) -> None:
    """Settle the keys whose names on the disk are not those that the index expects; of stored results all."""
    known: dict[int, set[int | None]] = defaultdict(set)
    for key8, ver8, current, seq in disk.index.shapes(*in_folder(part), put=area is Area.PUT):
        known[key8].add(None if current and seq != DOOMED else ver8)
    for key, found in names.items():
        expected = known.get(short(key))
        if expected is None and found == {None} and _adopt_new(disk, area, key):
            continue
        if area is Area.PUT or expected != {None if ver is None else short(ver) for ver in found}:
            settle(disk, area, key, [ver for ver in found if ver is not None])


def _scan_rows(disk: Disk, area: Area, part: str) -> Iterator[int]:
    """Rows whose object is gone."""
    there = {short(name) for name in disk.files.names(f"{AREA_NAMES[area]}/{part}") if len(name) == 64}
    gone = iter(
        [number for number, root8 in disk.index.objects(area, *in_folder(part)) if root8 not in there]
    )
    while some := list(islice(gone, SLICE)):
        with disk.index.change():
            for number in some:
                for row in disk.index.select("id = ?", (number,)):
                    settle(disk, row.area, row.entry.key)
        yield len(some)
    yield 1


def _scan_orphans(disk: Disk, area: Area, part: str) -> Iterator[int]:
    """Objects and manifests that no row names: left by what was cut off."""
    folder = f"{AREA_NAMES[area]}/{part}"
    held = {root8 for _, root8 in disk.index.objects(area, *in_folder(part))}
    for name in disk.files.names(folder):
        root = name.removesuffix(".m")
        if len(root) == 64 and not name.endswith(".r") and short(root) not in held:
            disk.files.unlink(f"{folder}/{name}")
    yield 1


def _drop_record(disk: Disk, path: str) -> bool:
    """Remove a record; a folder in its place, which is none of ours, goes to the trash."""
    try:
        return disk.files.unlink(path)
    except IsADirectoryError:
        disk.files.rename(path, f"{TRASH}/{disk.temporary().rpartition('/')[2]}")
        return True
