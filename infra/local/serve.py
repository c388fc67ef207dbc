"""MiniStack, which saves its state at SIGUSR1 too; by itself it does so at its end only.

Run by the interpreter of MiniStack's own environment. A copy of the process (fork) writes the
state: requests go on, and all is of one moment. A file replaces the old one when it is whole.
"""

import asyncio
import copy
import json
import os
import signal
import stat
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ministack import app
from ministack.core.persistence import save_all

LONGEST_S = 600
MOST_FILES = 4096

_saving: list[int] = []  # the process that writes


def save() -> None:
    """Between two requests, on the event loop: nothing of the state is half changed."""
    pid = _start_copy(nice=10)
    _saving.append(pid)
    threading.Thread(target=_wait, args=(pid,), daemon=True).start()


def _wait(pid: int) -> None:
    os.waitpid(pid, 0)
    _saving.remove(pid)


def save_at_end(_services: Mapping[str, Callable[[], Any]]) -> None:
    """Once no older state can be written over it."""
    for pid in list(_saving):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(_start_copy(nice=0), 0)


def _start_copy(nice: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            os.nice(nice)
            _save_and_end()
        finally:
            os._exit(1)
    return pid


def _save_and_end() -> None:
    signal.alarm(LONGEST_S)  # a lock that another thread held at the fork is never released
    # The port and the pipes to the workers end with MiniStack; the folder's lock is held longer.
    for number in range(3, MOST_FILES):
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                os.close(number)
        except OSError:
            continue
    # Nobody changes this process, so MiniStack's copies of all that it saves are not needed; and
    # encoded at once instead of bit by bit, the tables take a third of the time.
    copy.deepcopy = lambda value, _memo=None: value  # type: ignore
    json.dump = lambda value, file, **how: file.write(json.dumps(value, **how))
    save_all(app._build_persistence_save_dict())
    os._exit(0)


def main() -> None:
    app.save_all = save_at_end
    signal.signal(
        signal.SIGUSR1,
        lambda *_: asyncio.get_running_loop().call_soon_threadsafe(save),
    )
    app.main()


if __name__ == "__main__":
    main()
