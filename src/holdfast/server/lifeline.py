"""The small process between Holdfast and a server: it ends the server when Holdfast is gone.

Run by path, never imported:

    python -I -S lifeline.py FD STOP_SIGNAL GRACE_S UID GID -- COMMAND ...

`FD` is the read end of a pipe whose write end only the parent holds. The kernel closes it when
the parent ends in whatever way, `kill -9` included; that is the signal to stop. Compared with
PR_SET_PDEATHSIG this needs no code between fork and exec, does not fire when the *thread* that
started the child ends, reaches grandchildren, and works on macOS.

It leads the process group and is the last of it to end: its exit status is the command's
(128 + N for signal N). On Linux it adopts orphaned grandchildren and waits for those too.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36


class Lifeline:
    """The watch over one command.

    Args:
        parent_fd: Reads end-of-file once the parent is gone.
        stop_signal: What asks the command to end.
        grace_s: How long it may take before SIGKILL.
    """

    def __init__(self, parent_fd: int, stop_signal: int, grace_s: float) -> None:
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._asked = False
        self._deadline: float | None = None
        self._wake_fd, wake_write_fd = os.pipe()
        os.set_blocking(wake_write_fd, False)
        os.set_inheritable(parent_fd, False)
        # Not `select`, which refuses numbers above 1023: the descriptor has the one it has in the parent.
        self._watched = selectors.DefaultSelector()
        self._watched.register(self._wake_fd, selectors.EVENT_READ, lambda: os.read(self._wake_fd, 4096))
        self._watched.register(parent_fd, selectors.EVENT_READ, lambda: self._parent_is_gone(parent_fd))
        signal.set_wakeup_fd(wake_write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, stop_signal}:
            signal.signal(number, lambda *_: self.ask_group_to_end())

    def ask_group_to_end(self) -> None:
        """Send the stop signal to the whole group, once. How long to wait is the sender's to say."""
        if not self._asked:
            self._asked = True
            os.killpg(0, self._stop_signal)

    def end_group(self) -> None:
        """Send the stop signal to the whole group, and start the time of grace: nobody else will kill it."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace_s
        self.ask_group_to_end()

    def watch(self, pid: int) -> int:
        """Wait until the command and all it left behind have ended; return the command's exit status."""
        status: int | None = None
        while True:
            for ended, raw in reap():
                if ended == pid:
                    status = os.waitstatus_to_exitcode(raw)
                    self.end_group()
            if status is not None and not has_children():
                return status if status >= 0 else 128 - status
            self._sleep()

    def _sleep(self) -> None:
        left_s = None if self._deadline is None else self._deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            os.killpg(0, signal.SIGKILL)  # this process included
        for key, _ in self._watched.select(left_s):
            key.data()

    def _parent_is_gone(self, parent_fd: int) -> None:
        self._watched.unregister(parent_fd)
        self.end_group()


def reap() -> list[tuple[int, int]]:
    """Return pid and wait status of every child that has ended."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((pid, status))
    return ended


def has_children() -> bool:
    """Whether a child is still running. (Called after `reap`, so that none is a zombie for long.)"""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    except AttributeError:  # macOS before Python 3.13, which hands on no orphans either
        return False
    return True


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (Linux only; elsewhere init gets them)."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(arguments: list[str]) -> int:
    """Start the command and watch it; 127 where it cannot be started."""
    fd, stop_signal, grace_s, uid, gid = arguments[:5]
    command = arguments[6:]
    adopt_orphans()
    lifeline = Lifeline(int(fd), int(stop_signal), float(grace_s))
    owner = {"user": int(uid), "group": int(gid), "extra_groups": []} if int(uid) >= 0 else {}
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, **owner)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"cannot start {command[0]}: {error}\n")
        return 127
    return lifeline.watch(child.pid)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
