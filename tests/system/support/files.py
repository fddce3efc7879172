# SPDX-License-Identifier: GPL-2.0-or-later
"""Images for tests, and the file calls that Python lacks."""

import ctypes
import errno
import os
import random
import subprocess

KIB = 1 << 10
MIB = 1 << 20

FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, offset, length):
    if _libc.fallocate(fd, mode, offset, length) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def get(path, offset, length):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)


def put(path, offset, data, sync=True):
    fd = os.open(path, os.O_RDWR)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def make_image(path, size=16 * MIB, seed=1):
    """A file of random bytes in which every fourth run of 256 KiB is a hole and every ninth is written zeros."""
    source = random.Random(seed)
    with open(path, "wb") as file:
        for number, offset in enumerate(range(0, size, 256 * KIB)):
            length = min(256 * KIB, size - offset)
            if number % 4 == 3:
                continue
            file.seek(offset)
            file.write(bytes(length) if number % 9 == 8 else source.randbytes(length))
        file.truncate(size)
    os.chmod(path, 0o644)
    return path


def make_vhd(raw, path):
    """A fixed VHD of a raw file, made by qemu-img."""
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", str(raw), str(path)],
        check=True,
        timeout=120,
    )
    os.chmod(path, 0o644)
    return path


def make_partitioned(path, size=32 * MIB, label="gpt"):
    """A disk of random bytes with two partitions; returns [(offset, length)]."""
    make_image(path, size, seed=7)
    parts = [(1 * MIB, 8 * MIB), (10 * MIB, size - 12 * MIB)]
    table = f"label: {label}\n" + "".join(f"start={o // 512}, size={n // 512}\n" for o, n in parts)
    subprocess.run(["sfdisk", "-q", "--no-reread", "--wipe", "always", str(path)], input=table, text=True, check=True, timeout=60)
    return parts


def error_of(call, *args):
    """The errno that a call fails with, as its name; None if it does not fail."""
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def segments(fd, size):
    """[(offset, length, is_data)] of a file as SEEK_DATA and SEEK_HOLE tell them."""
    found = []
    position = 0
    while position < size:
        try:
            data = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            data = size
        assert position <= data <= size
        if data > position:
            found.append((position, data - position, False))
        if data == size:
            break
        hole = os.lseek(fd, data, os.SEEK_HOLE)
        assert data < hole <= size
        found.append((data, hole - data, True))
        position = hole
    return found
