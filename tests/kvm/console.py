#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The terminal of examples/kvm-vmm: raw while the guest runs, as before afterwards, and Ctrl-A x ends it.

Usage: console.py PROGRAM GUEST

Exit status 77 where there is no KVM. Ends with "N passed, N failed".
"""
import os
import pty
import select
import signal
import sys
import termios
import time

PATIENCE = 60
RAW = termios.ICANON | termios.ECHO | termios.ISIG


def local_flags(fd):
    return termios.tcgetattr(fd)[3]


class Session:
    """The program with a terminal of its own; what it says is collected."""

    def __init__(self, arguments):
        self.said = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(arguments[0], arguments)

    def read(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                self.said += os.read(self.fd, 4096)
            except OSError:  # the other end has gone
                return False
        return True

    def until(self, wanted):
        end = time.monotonic() + PATIENCE
        while not wanted() and time.monotonic() < end and self.read(0.05):
            pass
        return wanted()

    def status(self):
        """The exit status, or None when it does not end."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None


def checks(arguments):
    session = Session(arguments)
    if not session.until(lambda: b"Ctrl-A x" in session.said or b"skipped" in session.said):
        yield "it says how to end it", False
        return
    if b"skipped" in session.said:
        print(session.said.decode(errors="replace").strip())
        session.status()
        sys.exit(77)
    yield "it says how to end it", True
    yield "the terminal is raw", session.until(lambda: local_flags(session.fd) & RAW == 0)
    os.write(session.fd, b"\x03x\x01y")  # none of these ends it
    time.sleep(0.3)
    yield "other keys do not end it", os.waitpid(session.pid, os.WNOHANG)[0] == 0
    os.write(session.fd, b"\x01x")
    yield "Ctrl-A x does", session.until(lambda: b"interrupted" in session.said) and session.status() == 1


def restored(arguments):
    """In a terminal that outlives the program: one that a shell has, too."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))  # it becomes the controlling one
        for fd in range(3):
            os.dup2(slave, fd)
        os.execv(arguments[0], arguments)
    said = b""
    end = time.monotonic() + PATIENCE
    while local_flags(slave) & RAW and time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            said += os.read(master, 4096)
    was_raw = local_flags(slave) & RAW == 0
    os.kill(pid, signal.SIGTERM)
    while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            said += os.read(master, 4096)
    after = termios.tcgetattr(slave)
    return was_raw and after == before


def main():
    program, guest = sys.argv[1:]
    arguments = [program, "--memory", "32", "--timeout", "200", guest]
    results = list(checks(arguments))
    results.append(("SIGTERM leaves the terminal as it was", restored(arguments)))
    for name, good in results:
        print(("ok" if good else "not ok") + " - " + name)
    failed = sum(not good for _, good in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
