# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine as the tests see it: processes, mounts, ports; and how whatever a root left behind is cleared away."""

import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time


def processes_of(folder):
    """{pid: command line} of all processes that work in a folder, were started from it or name it."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
            cwd = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue  # it has ended meanwhile, or is a kernel thread
        names_it = any(word == folder or folder + "/" in word for word in words)
        if state != "Z" and (names_it or cwd == folder or cwd.startswith(folder + "/")):
            found[int(pid)] = " ".join(words).strip()
    return found


def user_of(pid):
    """Its effective user id; None if it has ended."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("Uid:"):
                return int(line.split()[2])
    return None


def mounts_below(folder):
    """[(mount point, "major:minor", type)] of all mounts below a folder, the deepest first. Touches none of them."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            words = line.split()
            point = words[4].encode().decode("unicode_escape")
            if point.startswith(folder + "/"):
                found.append((point, words[2], words[words.index("-") + 1]))
    return sorted(found, reverse=True)


def abort_fuse(device):
    """End a FUSE connection from the kernel's side; whoever waits for its server gets an error."""
    minor = device.split(":")[1]
    abort = pathlib.Path("/sys/fs/fuse/connections", minor, "abort")
    if abort.exists():
        abort.write_text("1")
        return
    with tempfile.TemporaryDirectory() as control:
        mounted = subprocess.run(["mount", "-t", "fusectl", "fusectl", control], check=False).returncode == 0
        try:
            with contextlib.suppress(OSError):
                pathlib.Path(control, minor, "abort").write_text("1")
        finally:
            if mounted:
                subprocess.run(["umount", "-l", control], check=False)


def unmount_all(folder):
    for point, device, kind in mounts_below(folder):
        if kind.startswith("fuse"):
            abort_fuse(device)
        subprocess.run(["umount", "-l", point], check=False, timeout=30)


def parent_of(pid):
    """None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def kill_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def listening_ports():
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as file:
            for line in file.readlines()[1:]:
                words = line.split()
                if words[3] == "0A":
                    found.add(int(words[1].rpartition(":")[2], 16))
    return found


PORTS_IN_BLOCK = 8
_blocks_held = {}  # first port: the socket that keeps the block


def _hold_block(first):
    """Tests run side by side: a block of ports is one test's, from here to release_ports(), by a name that the kernel frees when its process ends."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0diskgate-test-ports-{first}")
    except OSError:
        holder.close()
        return False
    _blocks_held[first] = holder
    return True


def release_ports(first):
    _blocks_held.pop(first).close()


def free_ports(count):
    """The first of `count` neighbouring ports that nobody listens on and no other test has; below those that the kernel hands out."""
    assert count <= PORTS_IN_BLOCK
    while True:
        first = random.randrange(20000, 32000, PORTS_IN_BLOCK)
        if not _hold_block(first):
            continue
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            release_ports(first)
            continue
        return first


def wait_until(is_so, seconds=90, what="it"):
    """Wait for something that must happen; the limit is only there so that a failure does not hang, and holds on a machine that does much else."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.05)
