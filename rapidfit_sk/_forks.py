"""Locks and computations that survive a fork of the process."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable)
_Lock = TypeVar("_Lock", bound=Any)


def held_at_fork(lock: _Lock) -> _Lock:
    """Return a lock, after arranging that a fork waits for it.

    A forked process would otherwise inherit a lock that another thread held at that moment, and
    that nothing in the new process ever releases.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


class _ForkedThread(threading.local):
    """State of a thread: whether it is the one that continues in a forked process."""

    executor: ThreadPoolExecutor | None = None
    is_forked = False


_THREAD = _ForkedThread()


def _mark_forked():
    _THREAD.is_forked, _THREAD.executor = True, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)


def computes(function: _Function) -> _Function:
    """Decorate a function that computes with torch to make it work in a forked process, too.

    torch computes with OpenMP, which keeps a team of threads for each thread that has used it. A
    forked process does not have these threads, so a computation in its only thread would wait for
    them forever. It therefore runs in a new thread, which gets a new team.
    """

    @functools.wraps(function)
    def call(*args, **kwargs):
        if not _THREAD.is_forked:
            return function(*args, **kwargs)
        if _THREAD.executor is None:
            _THREAD.executor = ThreadPoolExecutor(1)
        return _result(_THREAD.executor, functools.partial(function, *args, **kwargs))

    return call  # type: ignore[return-value]


def _result(executor: ThreadPoolExecutor, function: Callable[[], Any]) -> Any:
    """Return the result of a function that runs in another thread, and pass Ctrl-C on to it."""
    thread = executor.submit(threading.get_ident).result()
    future = executor.submit(function)
    try:
        return future.result()
    except KeyboardInterrupt as error:
        if not future.done():
            # Python has no other way to raise an exception in another thread.
            interrupt = ctypes.py_object(type(error))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), interrupt)
            wait([future])
        raise
