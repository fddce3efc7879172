# SPDX-License-Identifier: GPL-2.0-or-later
"""A view behaves as a plain file of the same content does: fallocate, lseek, the end of the file, sizes and times."""

import errno
import os
import random
import shutil

import pytest
from support.files import (
    FALLOC_KEEP_SIZE,
    FALLOC_PUNCH_HOLE,
    FALLOC_ZERO_RANGE,
    KIB,
    MIB,
    error_of,
    fallocate,
    make_image,
    segments,
)

SIZE = 8 * MIB + 512  # the last block is not whole
PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE
ZERO = FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE
BORDERS = [0, 512, 4 * KIB, 64 * KIB]
LENGTHS = [1, 511, 512, 4095, 4096, 4097, 64 * KIB, 64 * KIB + 512, 200 * KIB]


class Pair:
    """The view and a plain file of the same content; every change goes to both."""

    def __init__(self, view, plain):
        self.view = os.open(view, os.O_RDWR)
        self.plain = os.open(plain, os.O_RDWR)

    def write(self, data, offset):
        for fd in (self.view, self.plain):
            assert os.pwrite(fd, data, offset) == len(data)

    def allocate(self, mode, offset, length):
        for fd in (self.view, self.plain):
            fallocate(fd, mode, offset, length)

    def assert_same(self):
        view, plain = (os.pread(fd, SIZE + 4096, 0) for fd in (self.view, self.plain))
        if view != plain:
            first = next(i for i, (a, b) in enumerate(zip(view, plain)) if a != b) if len(view) == len(plain) else -1
            raise AssertionError(f"content differs at {first} (lengths {len(view)}, {len(plain)})")

    def close(self):
        os.close(self.view)
        os.close(self.plain)


@pytest.fixture(params=["volatile", "kept"])
def pair(root, request):
    image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", request.param)
    root.ok("up")
    plain = shutil.copy(image, root.files / "plain.raw")
    made = Pair(root.view("pc01"), plain)
    yield made
    made.close()


def ranges():
    for border in BORDERS:
        for delta in (-1, 0, 1):
            if border + delta < 0:
                continue
            for length in LENGTHS:
                yield border + delta, length


@pytest.mark.parametrize("mode", [PUNCH, ZERO], ids=["punch", "zero"])
def test_fallocate_over_base_data_overlay_data_and_holes_equals_a_plain_file(pair, mode):
    source = random.Random(4)
    # Regions of 1 MiB each: base data, own data, a hole of the image, own data with a hole punched, the end.
    pair.write(source.randbytes(MIB), 2 * MIB)
    pair.write(source.randbytes(MIB), 4 * MIB)
    pair.allocate(PUNCH, 4 * MIB + 100 * KIB, 300 * KIB)
    for region in (0, 2 * MIB, 3 * 256 * KIB, 4 * MIB, 4 * MIB + 60 * KIB):
        for offset, length in ranges():
            pair.allocate(mode, region + offset, length)
            for fd in (pair.view, pair.plain):
                assert not any(os.pread(fd, length, region + offset))
        pair.assert_same()
        pair.write(source.randbytes(300 * KIB), region + 1)
    pair.assert_same()


@pytest.mark.parametrize("mode", [PUNCH, ZERO], ids=["punch", "zero"])
def test_fallocate_leaves_the_neighbours_alone(pair, mode):
    for offset, length in ranges():
        pair.write(b"\xee" * (512 * KIB), MIB)
        pair.allocate(mode, MIB + offset, length)
        pair.assert_same()


@pytest.mark.parametrize("mode", [PUNCH, ZERO], ids=["punch", "zero"])
def test_fallocate_up_to_and_beyond_the_end_keeps_the_size(pair, mode):
    for offset, length in [(SIZE - 512, 512), (SIZE - 5000, 5000), (SIZE - 100, 100 * KIB), (SIZE, 4096), (SIZE - 70 * KIB, 1 << 40)]:
        # The plain file gets no more than a MiB: a file system would reserve the rest behind its end, as far as there is room.
        results = [
            error_of(fallocate, pair.view, mode, offset, length),
            error_of(fallocate, pair.plain, mode, offset, min(length, MIB)),
        ]
        assert os.fstat(pair.view).st_size == SIZE
        # A disk may refuse what lies beyond its end; then nothing of the rest has happened either.
        if results[0] is not None:
            assert results[0] in ("ENOSPC", "EINVAL", "EFBIG") and offset + length > SIZE
            os.pwrite(pair.plain, os.pread(pair.view, SIZE, 0), 0)
    fallocate(pair.view, mode, 0, SIZE)
    assert not any(os.pread(pair.view, SIZE, 0))


def test_preallocation_changes_no_byte(pair):
    error = error_of(fallocate, pair.view, 0, MIB, MIB)
    assert error in (None, "EOPNOTSUPP")
    pair.assert_same()


def test_holes_read_as_zeros_and_the_walk_covers_the_file(pair):
    source = random.Random(8)
    for _ in range(40):
        offset = source.randrange(0, SIZE - 300 * KIB)
        length = source.randrange(1, 300 * KIB)
        if source.random() < 0.5:
            pair.write(source.randbytes(length), offset)
        else:
            pair.allocate(source.choice([PUNCH, ZERO]), offset, length)
    pair.assert_same()
    found = segments(pair.view, SIZE)
    assert found[0][0] == 0
    assert all(a[0] + a[1] == b[0] and a[2] != b[2] for a, b in zip(found, found[1:]))
    assert found[-1][0] + found[-1][1] == SIZE
    for offset, length, is_data in found:
        if not is_data:
            assert not any(os.pread(pair.view, length, offset)), f"the hole at {offset} holds data"


def test_a_punched_range_is_reported_as_a_hole(pair):
    pair.write(b"\x01" * MIB, 0)
    pair.allocate(PUNCH, 64 * KIB, 128 * KIB)
    assert os.lseek(pair.view, 0, os.SEEK_HOLE) == 64 * KIB
    assert os.lseek(pair.view, 64 * KIB, os.SEEK_DATA) == 192 * KIB


def test_seek_at_and_beyond_the_end_fails_as_on_a_plain_file(pair):
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for offset in (SIZE, SIZE + 1, SIZE + MIB):
            assert error_of(os.lseek, pair.view, offset, whence) == error_of(os.lseek, pair.plain, offset, whence) == "ENXIO"


def test_reads_at_and_beyond_the_end_are_short(pair):
    for offset, length in [(SIZE - 1, 2), (SIZE - 512, 4096), (SIZE - 5000, 64 * KIB), (SIZE, 1), (SIZE + 1, 10), (SIZE + MIB, MIB)]:
        assert os.pread(pair.view, length, offset) == os.pread(pair.plain, length, offset)


def test_writes_beyond_and_across_the_end_are_refused_and_change_nothing(pair):
    for offset, length in [(SIZE, 512), (SIZE + 4096, 4096), (SIZE - 512, 1024), (SIZE - 5000, 64 * KIB)]:
        assert error_of(os.pwrite, pair.view, b"\x99" * length, offset) == "ENOSPC"
        assert os.fstat(pair.view).st_size == SIZE
    pair.assert_same()


def test_truncation_and_growth_are_refused(pair, root):
    for size in (0, SIZE - 512, SIZE + 512):
        assert error_of(os.ftruncate, pair.view, size) == "EPERM"
    assert error_of(os.open, root.view("pc01"), os.O_RDWR | os.O_TRUNC) == "EPERM"
    assert error_of(fallocate, pair.view, 0, SIZE, MIB) is not None
    assert os.fstat(pair.view).st_size == SIZE
    pair.assert_same()


def test_names_in_the_mount_cannot_be_changed(pair, root):
    view = root.view("pc01")
    assert error_of(os.unlink, view) is not None
    assert error_of(os.rename, view, view.with_name("x.img")) is not None
    assert error_of(os.mkdir, root.mnt / "clients" / "pc99") is not None
    assert error_of(os.open, root.mnt / "clients" / "pc01" / "new", os.O_CREAT | os.O_RDWR) is not None
    assert os.listdir(view.parent) == ["disk0.img"]


def test_size_and_times_stay_the_same_under_writes(pair):
    before = os.fstat(pair.view)
    assert before.st_size == SIZE and before.st_blksize == 4096
    os.pwrite(pair.view, b"\x01" * 4096, 0)
    fallocate(pair.view, PUNCH, 4096, 4096)
    os.fsync(pair.view)
    after = os.fstat(pair.view)
    for name in ("st_ino", "st_mode", "st_size", "st_mtime_ns", "st_blksize"):
        assert getattr(after, name) == getattr(before, name), name


def test_fsync_and_fdatasync_succeed(pair):
    os.pwrite(pair.view, b"\x01" * 4096, 0)
    os.fsync(pair.view)
    os.fdatasync(pair.view)


def test_unaligned_reads_and_writes_equal_a_plain_file(pair):
    source = random.Random(11)
    for _ in range(200):
        length = source.randrange(1, 20000)
        offset = source.randrange(0, SIZE - length)
        pair.write(source.randbytes(length), offset)
        offset = source.randrange(0, SIZE)
        assert os.pread(pair.view, length, offset) == os.pread(pair.plain, length, offset)
    pair.assert_same()


def test_the_mount_reports_its_space(pair, root):
    room = os.statvfs(root.mnt)
    assert room.f_blocks > 0 and 0 < room.f_bavail <= room.f_blocks


def test_view_of_a_client_that_is_gone_answers_with_an_error(pair, root):
    root.ok("client", "remove", "pc01")
    with pytest.raises(OSError) as caught:
        os.pread(pair.view, 4096, 0)
    assert caught.value.errno in (errno.ESTALE, errno.EIO, errno.ENOENT)
