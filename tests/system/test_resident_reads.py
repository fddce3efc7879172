# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads that are answered straight from the page cache of the image: the same bytes whether its pages are there, were dropped a moment ago or
lie under an image that somebody cut off."""

import ctypes
import mmap
import os
import re
import threading
import time

import pytest
from support.files import KIB, MIB, get, make_image, put

SIZE = 16 * MIB
PROCESS_MADVISE = 440  # the number of the system call
MADV_PAGEOUT = 21
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "win.raw", SIZE, seed=11)
    root.content = root.image.read_bytes()
    root.ok("image", "add", "win", root.image)
    for number, mode in enumerate(("volatile", "kept")):
        root.ok("client", "add", mode, "--mac", f"52:54:00:00:0a:{number:02x}", "--image", "win", "--mode", mode)
    root.ok("up")
    return root


def check(site, name, lengths, own=()):
    """All of a view is what it must be; `own` has the client's (offset, bytes)."""
    want = bytearray(site.content)
    for offset, data in own:
        want[offset : offset + len(data)] = data
    for length in lengths:
        for offset in range(0, SIZE, length):
            assert get(site.view(name), offset, length) == want[offset : offset + length], f"{length} bytes at {offset}"


def mappings(site):
    """[(pid, address, bytes)] of the image in diskgate-fs."""
    found = []
    for pid in site.file_system_processes():
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                if line.rstrip().endswith(str(site.image)):
                    first, end = (int(n, 16) for n in re.match(r"(\w+)-(\w+)", line).groups())
                    found.append((pid, first, end - first))
    return found


def drop_pages(site):
    """Take the image's pages away from under diskgate-fs, as a machine short of memory does."""
    for pid, address, length in mappings(site):
        pidfd = os.pidfd_open(pid)
        try:
            vector = IoVec(address, length)
            LIBC.syscall(PROCESS_MADVISE, pidfd, ctypes.byref(vector), ctypes.c_size_t(1), MADV_PAGEOUT, 0)
        finally:
            os.close(pidfd)
    fd = os.open(site.image, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def resident_pages(path):
    """How many pages of a file are in memory."""
    pages = (SIZE + 4095) // 4096
    seen = (ctypes.c_ubyte * pages)()
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), SIZE) as area:
        view = (ctypes.c_char * SIZE).from_buffer(area)
        failed = LIBC.mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(SIZE), seen)
        del view
    assert failed == 0
    return sum(page & 1 for page in seen)


def test_reads_are_right_after_pages_were_dropped(site):
    own = [(3 * MIB + 100, b"mine" * 5000), (7 * MIB, b"\xee" * 300 * KIB)]
    for offset, data in own:
        put(site.view("kept"), offset, data, sync=False)
    for _ in range(2):  # what was read once is answered from the mapping the second time
        check(site, "volatile", (64 * KIB, MIB))
        check(site, "kept", (4 * KIB, 64 * KIB, 192 * KIB), own)
    assert mappings(site), "the image is not mapped"
    before = resident_pages(site.image)
    drop_pages(site)
    assert resident_pages(site.image) < before, "nothing was dropped"
    for _ in range(2):
        check(site, "volatile", (64 * KIB, MIB))
        check(site, "kept", (64 * KIB,), own)
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("1")
    check(site, "volatile", (MIB,))


def test_reads_are_right_while_pages_are_dropped(site):
    stop, wrong = threading.Event(), []

    def read_on(name, length, seed):
        offset = seed * length
        try:
            while not stop.is_set():
                if get(site.view(name), offset, length) != site.content[offset : offset + length]:
                    wrong.append((name, offset, length))
                    return
                offset = (offset + 7 * length) % SIZE
        except OSError as error:
            wrong.append((name, offset, length, error))

    readers = [
        threading.Thread(target=read_on, args=(name, length, seed))
        for seed, (name, length) in enumerate([("volatile", 64 * KIB), ("kept", 16 * KIB), ("volatile", 4 * KIB), ("kept", MIB)])
    ]
    for reader in readers:
        reader.start()
    for _ in range(30):
        drop_pages(site)
        time.sleep(0.05)
    stop.set()
    for reader in readers:
        reader.join(30)
    assert not wrong


def test_image_that_was_cut_off_gives_errors_and_never_zeros(site):
    """Also where the new end lies in the middle of a page, whose rest would read as zeros in a mapping."""
    cut = 5 * MIB + 2000
    assert any(site.content[cut : cut + 2000])
    put(site.view("kept"), 6 * MIB, b"own!" * 4096, sync=False)
    for _ in range(2):
        check(site, "volatile", (64 * KIB,))
    os.truncate(site.image, cut)
    for length in (4 * KIB, 64 * KIB, MIB):
        assert get(site.view("volatile"), 4 * MIB, length) == site.content[4 * MIB : 4 * MIB + length]
        for offset in (cut // (4 * KIB) * (4 * KIB), 6 * MIB, SIZE - length):
            with pytest.raises(OSError, match="Input/output error"):
                get(site.view("volatile"), offset, length)
    assert get(site.view("kept"), 6 * MIB, 16 * KIB) == b"own!" * 4096
    put(site.view("volatile"), 8 * MIB, b"new!" * 1024, sync=False)
    assert get(site.view("volatile"), 8 * MIB, 4 * KIB) == b"new!" * 1024
    log = (site.path / "run" / "fs.log").read_text()
    assert "'volatile'" in log and str(site.image) in log, log
    with open(site.image, "r+b") as file:  # put back as it was
        file.write(site.content)
    check(site, "volatile", (64 * KIB, MIB), [(8 * MIB, b"new!" * 1024)])
