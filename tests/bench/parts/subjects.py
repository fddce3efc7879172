# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured: our views, a plain file, and the peers. Each is a file of the same size and content that can be read and written.

All stores lie in one folder of one file system. The peers run as their handbooks advise for speed: qemu-storage-daemon with 64 KiB
clusters and an iothread, nbdkit's cow filter with 64 KiB blocks, nbdfuse with four connections. XFS needs a file system of its own, a loop
device over a file beside the others."""

import contextlib
import os
import shutil
import socket
import time

from .site import Skip, call, need, view_counts, write_random


class Subject:
    """`path` is the file, `url` the iSCSI LUN (None without tgt), `syncs` tells whether fsync makes written data durable."""

    name = ""
    is_peer = False
    syncs = False

    def __init__(self, site, size_bytes):
        self.site, self.size_bytes, self.url = site, size_bytes, None
        self.path = self.start()

    def start(self):
        raise NotImplementedError

    def make_url(self):
        self.url = self.url or self.site.export(self.path, self.name)


class Plain(Subject):
    """A plain file with all of its blocks there."""

    name, syncs = "plain", True

    def start(self):
        path = self.site.files / "plain.raw"
        write_random(path, self.size_bytes)
        return path


class View(Subject):
    mode = ""

    def start(self):
        return self.site.root.view(self.name)

    def make_url(self):
        self.url = self.site.url(self.name)


class Volatile(View):
    name, mode = "volatile", "volatile"


class Kept(View):
    name, mode, syncs = "kept", "kept", True


class WithoutDirect(View):
    """A view of its own, as a LUN of the store rdwr: each read of it goes through FUSE, as it does with gateway.direct off."""

    def make_url(self):
        Subject.make_url(self)


class VolatileFuse(WithoutDirect):
    name, mode = "volatile-fuse", "volatile"


class KeptFuse(WithoutDirect):
    name, mode, syncs = "kept-fuse", "kept", True


class Qsd(Subject):
    """qemu-storage-daemon's FUSE export of a qcow2 overlay over the image."""

    name, is_peer, syncs = "qsd", True, True

    def start(self):
        need("qemu-storage-daemon", "qemu-img")
        path, image, base = (self.site.files / n for n in ("qsd.raw", "qsd.qcow2", "base.raw"))
        path.touch()
        call("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=64k", "-b", base, "-F", "raw", image)
        child = self.site.spawn(
            "qemu-storage-daemon", "--object", "iothread,id=io0",
            "--blockdev", f"driver=file,node-name=basefile,filename={base},read-only=on",
            "--blockdev", "driver=raw,node-name=base,file=basefile,read-only=on",
            "--blockdev", f"driver=file,node-name=ovfile,filename={image},discard=unmap",
            "--blockdev", "driver=qcow2,node-name=disk0,file=ovfile,backing=base,discard=unmap",
            "--export", f"type=fuse,id=exp0,node-name=disk0,mountpoint={path},writable=on,growable=off,iothread=io0",
        )
        wait_for_size(path, self.size_bytes, child, "qemu-storage-daemon")
        return path


class Nbd(Subject):
    """nbdkit's cow filter with nbdfuse; its flush does nothing."""

    name, is_peer = "nbdkit", True

    def start(self):
        need("nbdkit", "nbdfuse")
        folder, cow, sock = (self.site.files / n for n in ("nbd", "nbd-cow", "nbd.sock"))
        folder.mkdir()
        cow.mkdir()
        # -f keeps it our child; its temporary overlay is on the same file system as all other stores
        nbdkit = self.site.spawn("nbdkit", "-f", "-U", sock, "--filter=cow", "file", self.site.base, "cow-block-size=64K",
                                 env={"TMPDIR": str(cow)})
        wait_until(lambda: accepts(sock), nbdkit, "nbdkit")
        nbdfuse = self.site.spawn("nbdfuse", "-C", "4", folder / "disk.raw", "--unix", sock)
        wait_for_size(folder / "disk.raw", self.size_bytes, nbdfuse, "nbdfuse")
        return folder / "disk.raw"


class Xfs(Subject):
    """A reflink copy of the image on an XFS of its own: each client's copy has the image once more in RAM."""

    name, is_peer, syncs = "xfs", True, True

    def start(self):
        need("mkfs.xfs", "mount")
        disk, mount = self.site.files / "xfs.disk", self.site.files / "xfs"
        mount.mkdir()
        with open(disk, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, xfs_bytes(self.size_bytes))
        try:
            call("mkfs.xfs", "-q", "-m", "reflink=1", disk)
            call("mount", "-o", "loop,noatime", disk, mount)
        except RuntimeError as why:
            raise Skip(str(why)) from None
        shutil.copyfile(self.site.base, mount / "base.raw")
        call("cp", "--reflink=always", mount / "base.raw", mount / "copy.raw")
        call("sync", "-f", mount)
        return mount / "copy.raw"


def xfs_bytes(size_bytes):
    return 2 * size_bytes + (400 << 20)


def accepts(path):
    """A socket is there before somebody listens on it."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


def wait_until(is_so, child, what, seconds=15):
    end = time.monotonic() + seconds
    while not is_so():
        if child.poll() is not None:
            raise Skip(f"{what} ended with {child.returncode} as soon as it was started")
        if time.monotonic() > end:
            raise Skip(f"{what} did not begin to serve within {seconds} s")
        time.sleep(0.05)


def wait_for_size(path, size, child, what):
    wait_until(lambda: path.exists() and os.stat(path).st_size == size, child, what)


ALL = (Plain, Volatile, Kept, VolatileFuse, KeptFuse, Qsd, Nbd, Xfs)


def start_all(site, size_bytes, direct="on"):
    """([subjects that run], {name: reason why not}). @direct: on, off, or both: then there are views as LUNs without direct reads, too."""
    kinds = [kind for kind in ALL if direct == "both" or not issubclass(kind, WithoutDirect)]
    site.root.ok("set", "gateway.direct", "off" if direct == "off" else "on")
    for number, kind in enumerate(kind for kind in kinds if issubclass(kind, View)):
        site.add_client(number, kind.name, kind.mode)
    site.up()
    running, skipped = [], {}
    for kind in kinds:
        try:
            running.append(kind(site, size_bytes))
        except Skip as why:
            skipped[kind.name] = str(why)
    return running, skipped


def direct_shares(running):
    """{view: share of the bytes read from it that tgtd read directly}."""
    found = {}
    for subject in running:
        with contextlib.suppress(OSError, LookupError, ValueError):  # the figures of the rows are worth more
            counts = view_counts(subject.site.root, subject.name) if isinstance(subject, View) else None
            if counts:
                found[subject.name] = round(counts["direct_read_bytes"] / max(counts["read_bytes"], 1), 3)
    return found


def room_needed(size_bytes, direct="on"):
    """Bytes of disk: the image, the plain file, four overlays or six, an XFS."""
    return (9 if direct == "both" else 7) * size_bytes + xfs_bytes(size_bytes)


def check_room(folder, size_bytes, direct="on"):
    free, needed = shutil.disk_usage(folder).free, room_needed(size_bytes, direct)
    if free < needed:
        raise SystemExit(f"'{folder}' has {free >> 20} MiB free and {needed >> 20} are needed; "
                         "set DISKGATE_TEST_TMP to a folder with more, or give a smaller --size")
