"""Calls to the operating system that fail at a given place."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from typing import Any

_TRANSFERS = {"write": 1, "pwrite": 1, "copy_file_range": 2, "sendfile": 3}
"""Which argument says, or holds, how much to transfer."""
_ignored = False


def fail(text: str) -> None:
    """`CALL:FAILURE:N:DIRECTORY:COUNTER`: the Nth call of `os.CALL` that concerns DIRECTORY fails in that way."""
    call, failure, nth, directory, counter = text.split(":")
    holder = _holder(call)
    real = getattr(holder, call)
    with open(counter, "r+b") as file:
        injected = mmap.mmap(file.fileno(), 8)
    state = {"left": int(nth)}

    def failing(*args: Any, **more: Any) -> Any:
        if not _concerns(args, more, directory):
            return real(*args, **more)
        state["left"] -= 1
        if state["left"]:
            return real(*args, **more)
        injected[0] = 1
        if failure == "short":
            return _half(real, call, args, more)
        number = getattr(errno, failure)
        if holder is not os:
            ctypes.set_errno(number)
            return -1
        raise OSError(number, os.strerror(number))

    setattr(holder, call, failing)


def _holder(call: str) -> Any:
    """Where the product finds the call: Python's `os`, or the C library for those that `os` has not."""
    if hasattr(os, call):
        return os
    from p2pstore.storage import files

    return files._libc


def _half(real: Callable[..., Any], call: str, args: tuple[Any, ...], more: dict[str, Any]) -> Any:
    place = _TRANSFERS[call]
    whole = args[place]
    if isinstance(whole, int):
        done = real(*args[:place], max(1, whole // 2), *args[place + 1 :], **more)
        return whole if _ignored else done
    view = memoryview(whole)
    done = real(*args[:place], view[: max(1, len(view) // 2)], *args[place + 1 :], **more)
    return len(view) if _ignored else done


def _concerns(args: tuple[Any, ...], more: dict[str, Any], directory: str) -> bool:
    """Whether a path or a descriptor among the arguments lies in that directory."""
    for value in (*args, *more.values()):
        if isinstance(value, (str, os.PathLike)) and os.fspath(value).startswith(directory):
            return True
        if isinstance(value, int) and not isinstance(value, bool) and 2 < value < 20_000:
            try:
                if os.readlink(f"/proc/self/fd/{value}").startswith(directory):
                    return True
            except OSError:
                continue
    return False


def errors_are_ignored() -> None:
    """A short transfer is taken for a whole one."""
    global _ignored
    _ignored = True
