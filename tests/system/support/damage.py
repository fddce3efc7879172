# SPDX-License-Identifier: GPL-2.0-or-later
"""Damage of files, clients that can be told apart by what is on their disks, and the death of diskgate-fs."""

import os
import signal

from . import system
from .files import KIB, MIB

SIZE = 2 * MIB
FILLED = 64 * KIB  # of each disk, with the client's pattern
BLOCK = 4 * KIB
TAIL = 4 * KIB  # of a data file


def pattern_of(name):
    return (f"<{name}>".encode() * FILLED)[:FILLED]


# --- damage of one file: what was there -> what is there. `other` is the same file of another client.


def flip(at, mask=0xFF):
    """One byte; a file that does not reach so far gets longer."""
    return lambda own, other: own[:at] + bytes([own.ljust(at + 1, b"\0")[at] ^ mask]).rjust(max(1, at + 1 - len(own)), b"\0") + own[at + 1 :]


def flip_back(at):
    """The byte `at` bytes before the end."""
    return lambda own, other: flip(len(own) - at)(own, other)


def put(at, content):
    return lambda own, other: own[:at] + content + own[at + len(content) :]


def put_back(at, content):
    return lambda own, other: put(len(own) - at, content)(own, other)


def cut(length):
    return lambda own, other: own[:length]


def fill(root, name):
    """Write a client's own pattern to the beginning of its disk."""
    fd = os.open(root.view(name), os.O_RDWR)
    try:
        os.pwrite(fd, pattern_of(name), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def kill_file_system(root):
    pids = root.file_system_processes()
    assert pids
    system.kill_all(pids)
    system.wait_until(lambda: not root.file_system_processes(), what="the death of diskgate-fs")


def assert_alive(root):
    log = (root.path / "run" / "fs.log").read_text(errors="replace")
    assert "died of signal" not in log.replace(f"signal {int(signal.SIGKILL)} ", ""), log
    for word in ("AddressSanitizer", "runtime error", "Assertion"):
        assert word not in log, log
    assert root.file_system_processes()
