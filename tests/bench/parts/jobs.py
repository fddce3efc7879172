# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to a subject: one row of the table each.

A job gives one figure, in operations or MB a second. Reads come first: they find untouched overlays, as a PC that boots does.
The last reads find what the random writes have left: disks in pieces of 4 KiB."""

import json
import os

from .site import Skip, call, need


class Job:
    def __init__(self, key, title, unit, subjects, is_write=False):
        self.key, self.title, self.unit, self.subjects, self.is_write = key, title, unit, subjects, is_write

    def prepare(self, subject):
        """Before each run, not timed: what was written before is on the disk, so that nobody pays for his predecessor."""
        fd = os.open(subject.site.files, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        call("sync", "-f", subject.site.files)

    def run(self, subject, seconds, seed):
        raise NotImplementedError


class Fio(Job):
    def __init__(self, key, title, unit, words, subjects, is_write=False):
        super().__init__(key, title, unit, subjects, is_write)
        self.words = words

    def run(self, subject, seconds, seed):
        need("fio")
        text = call("fio", f"--name={self.key}", f"--filename={subject.path}", "--ioengine=psync", "--direct=1", "--time_based",
                    f"--runtime={seconds}", f"--size={subject.size_bytes}", "--group_reporting", f"--randseed={seed + 1}",
                    "--allow_file_create=0", "--fallocate=none", "--thread", "--output-format=json", *self.words.split(),
                    timeout=seconds + 60)
        side = json.loads(text[text.index("{"):])["jobs"][0]["write" if self.is_write else "read"]
        return side["bw_bytes"] / 1e6 if self.unit == "MB/s" else side["iops"]


class Iscsi(Job):
    def __init__(self, key, title, unit, words, subjects, is_write=False):
        super().__init__(key, title, unit, subjects, is_write)
        self.words = words

    def run(self, subject, seconds, seed):
        if not subject.site.load.exists():
            raise Skip("iscsi-load is not built: libiscsi-dev is missing")
        subject.make_url()
        got = json.loads(call(subject.site.load, "-t", seconds, "-x", seed + 1, *self.words.split(), subject.url,
                              timeout=seconds + 90))
        if self.unit == "MB/s":
            return got["bytes"] / 1e6 / got["seconds"]
        return (got["reads"] + got["writes"]) / got["seconds"]


EVERYBODY = ("plain", "volatile", "kept", "qsd", "nbdkit", "xfs")
OVER_ISCSI = EVERYBODY + ("volatile-fuse", "kept-fuse")  # as files these are what volatile and kept are
SYNCING = ("plain", "kept", "qsd", "xfs")  # volatile and nbdkit answer a flush at once; compare like with like

# The rows whose geometric mean is a goal of its own.
MEAN_OF = ("iscsi-randread-4k-q8", "iscsi-randread-4k-q32", "iscsi-randread-64k-q8", "iscsi-seqread-1m-q4")

JOBS = (
    Fio("fuse-seqread-1m", "sequential read 1M", "MB/s", "--rw=read --bs=1m", EVERYBODY),
    Fio("fuse-randread-4k-x1", "random read 4K x1", "IOPS", "--rw=randread --bs=4k", EVERYBODY),
    Fio("fuse-randread-4k-x4", "random read 4K x4", "IOPS", "--rw=randread --bs=4k --numjobs=4", EVERYBODY),
    Fio("fuse-randread-64k-x4", "random read 64K x4", "MB/s", "--rw=randread --bs=64k --numjobs=4", EVERYBODY),
    Iscsi("iscsi-randread-4k-q1", "random read 4K q1", "IOPS", "-b 4096 -q 1", OVER_ISCSI),
    Iscsi("iscsi-randread-4k-q8", "random read 4K q8", "IOPS", "-b 4096 -q 8", OVER_ISCSI),
    Iscsi("iscsi-randread-4k-q32", "random read 4K q32", "IOPS", "-b 4096 -q 32", OVER_ISCSI),
    Iscsi("iscsi-randread-64k-q8", "random read 64K q8", "MB/s", "-b 65536 -q 8", OVER_ISCSI),
    Iscsi("iscsi-seqread-1m-q4", "sequential read 1M q4", "MB/s", "-b 1048576 -q 4 -s", OVER_ISCSI),
    Fio("fuse-randwrite-4k-x1", "random write 4K x1", "IOPS", "--rw=randwrite --bs=4k", EVERYBODY, True),
    Fio("fuse-randwrite-4k-x4", "random write 4K x4", "IOPS", "--rw=randwrite --bs=4k --numjobs=4", EVERYBODY, True),
    Fio("fuse-write-4k-fsync", "write 4K + fsync", "IOPS", "--rw=randwrite --bs=4k --fsync=1", SYNCING, True),
    Iscsi("iscsi-randwrite-4k-q16", "random write 4K q16", "IOPS", "-b 4096 -q 16 -r 0", OVER_ISCSI, True),
    Iscsi("iscsi-mixed-4k-q16", "70 % read, 30 % write 4K q16", "IOPS", "-b 4096 -q 16 -r 70", OVER_ISCSI, True),
    Iscsi("iscsi-write-4k-flush", "write 4K q4, flush every 16", "IOPS", "-b 4096 -q 4 -r 0 -f 16", SYNCING + ("kept-fuse",), True),
    Fio("fuse-randread-64k-x4-after", "random read 64K x4, after writes", "MB/s", "--rw=randread --bs=64k --numjobs=4", EVERYBODY),
    Fio("fuse-seqwrite-1m", "sequential write 1M", "MB/s", "--rw=write --bs=1m", EVERYBODY, True),
    Iscsi("iscsi-seqwrite-256k-q4", "sequential write 256K q4", "MB/s", "-b 262144 -q 4 -r 0 -s", OVER_ISCSI, True),
)
