"""Runs a command that must not outlive whoever started it, however that ends.

Standard input is a pipe from there. Its end of file comes also after a kill -9, on every system:
then the command gets SIGTERM, and what is left of it and its children SIGKILL. A script of its own,
`guard.py COMMAND ...`, in a session of its own; the standard library is all that it needs.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_S = 90  # MiniStack saves its state


def main() -> int:
    # Inheritable files go on to the command: the lock of the folder, which it holds as well.
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, forward)

    left_alone = threading.Event()

    def end_with_parent() -> None:
        while os.read(0, 1):  # nobody writes to it
            pass
        left_alone.set()
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()

    threading.Thread(target=end_with_parent, daemon=True).start()
    code = process.wait()
    if left_alone.is_set():
        os.killpg(0, signal.SIGKILL)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
