from __future__ import annotations

import os
import socket
from pathlib import Path

from p2pstore.api.jobs.identity import caller_of


def test_the_kernel_says_who_connected(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))
        with listener.accept()[0] as accepted:
            caller = caller_of(accepted)
    assert (caller.uid, caller.gid, caller.pid) == (os.geteuid(), os.getegid(), os.getpid())
    assert sorted(caller.groups) == sorted(os.getgroups())


def test_too_many_groups_count_as_none() -> None:
    class Crowded:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            if option == socket.SO_PEERCRED:
                return (
                    (7).to_bytes(4, "little") + (4294967294).to_bytes(4, "little") + (9).to_bytes(4, "little")
                )
            raise OSError(34, "ERANGE")

    caller = caller_of(Crowded())  # type: ignore[arg-type]
    assert (caller.pid, caller.uid, caller.gid, caller.groups) == (7, 4294967294, 9, ())
