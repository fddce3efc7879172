# SPDX-License-Identifier: GPL-2.0-or-later
"""Rooms for the boot storm: as many disks of one image as there are PCs, in each way that is compared.

Each is made once; open() exports its disks on the root's tgtd and returns their URLs, close() takes the targets away, end() the rest. Our
own targets stay open all the time, as they do in a room; nobody is logged in while others are measured."""

import os
import shutil
import subprocess

from .site import MIB, Skip, call, need
from .subjects import accepts, wait_for_size, wait_until


class Room:
    name = ""

    def __init__(self, site, o):
        self.site, self.count, self.exported = site, o.clients, []
        self.size_bytes = os.stat(site.base).st_size
        self.o = o
        self.start()

    def start(self):
        raise NotImplementedError

    def paths(self):
        raise NotImplementedError

    def open(self):
        urls = []
        for number, path in enumerate(self.paths()):
            tid, url = self.site.export_as(path, f"{self.name}.{number}")
            self.exported.append(tid)
            urls.append(url)
        return urls

    def close(self):
        for tid in self.exported:
            self.site.unexport(tid)
        self.exported = []

    def end(self):
        pass

    def folder(self):
        made = self.site.files / self.name
        made.mkdir()
        return made


class Diskgate(Room):
    """Volatile clients of one image."""

    name = "diskgate"

    def start(self):
        self.site.root.ok("set", "gateway.shards", self.o.shards)
        for number in range(self.count):
            self.site.add_client(number, f"pc{number}", "volatile")
        self.site.root.ok("up", timeout=120)

    def open(self):
        return self.site.all_urls()

    def close(self):
        pass


class Plain(Room):
    """A copy of the image for each PC."""

    name = "plain"

    def start(self):
        folder = self.folder()
        need_room(folder, self.count * data_bytes(self.site.base))
        for number in range(self.count):
            call("cp", "--sparse=always", "--reflink=never", self.site.base, folder / f"{number}.raw")

    def paths(self):
        return [self.site.files / self.name / f"{number}.raw" for number in range(self.count)]


class Reflink(Room):
    """Copies that share their blocks, on an XFS in a file."""

    name = "reflink"

    def start(self):
        need("mkfs.xfs")
        self.mount = self.folder()
        disk = self.site.files / "xfs"
        need_room(self.mount, 2 * data_bytes(self.site.base) + 64 * MIB)
        with open(disk, "wb") as file:
            file.truncate(max(1 << 30, 4 * self.size_bytes))
        call("mkfs.xfs", "-q", "-m", "reflink=1", disk)
        try:
            call("mount", "-o", "loop", disk, self.mount)
        except RuntimeError as why:
            raise Skip(f"XFS cannot be mounted: {why}") from why
        call("cp", "--sparse=always", self.site.base, self.mount / "base")
        for number in range(self.count):
            call("cp", "--reflink=always", self.mount / "base", self.mount / f"{number}.raw")
        os.sync()

    def paths(self):
        return [self.mount / f"{number}.raw" for number in range(self.count)]

    def end(self):
        subprocess.run(["umount", str(self.mount)], check=False)


class Qsd(Room):
    """One qemu-storage-daemon with a FUSE export of a qcow2 overlay for each PC, over one node of the image."""

    name = "qsd"

    def start(self):
        need("qemu-storage-daemon", "qemu-img")
        folder, base = self.folder(), self.site.base
        words = ["--object", "iothread,id=io0", "--object", "iothread,id=io1"]
        for n in range(self.count):
            path, image = folder / f"{n}.raw", folder / f"{n}.qcow2"
            path.touch()
            call("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=64k", "-b", base, "-F", "raw", image)
            words += [
                "--blockdev", f"driver=file,node-name=bf{n},filename={base},read-only=on",
                "--blockdev", f"driver=raw,node-name=b{n},file=bf{n},read-only=on",
                "--blockdev", f"driver=file,node-name=f{n},filename={image},discard=unmap",
                "--blockdev", f"driver=qcow2,node-name=d{n},file=f{n},backing=b{n},discard=unmap",
                "--export", f"type=fuse,id=e{n},node-name=d{n},mountpoint={path},writable=on,growable=off,iothread=io{n % 2}",
            ]
        child = self.site.spawn("qemu-storage-daemon", *words)
        for path in self.paths():
            wait_for_size(path, self.size_bytes, child, "qemu-storage-daemon")

    def paths(self):
        return [self.site.files / self.name / f"{n}.raw" for n in range(self.count)]


class Nbd(Room):
    """nbdkit's cow filter and an nbdfuse for each PC."""

    name = "nbdkit"

    def start(self):
        need("nbdkit", "nbdfuse")
        folder = self.folder()
        for n in range(self.count):
            mount, cow, sock = folder / f"{n}", folder / f"cow{n}", folder / f"{n}.sock"
            mount.mkdir()
            cow.mkdir()
            nbdkit = self.site.spawn("nbdkit", "-f", "-U", sock, "--filter=cow", "file", self.site.base, "cow-block-size=64K",
                                     env={"TMPDIR": str(cow)})
            wait_until(lambda sock=sock: accepts(sock), nbdkit, "nbdkit")
            nbdfuse = self.site.spawn("nbdfuse", "-C", "4", mount / "disk.raw", "--unix", sock)
            wait_for_size(mount / "disk.raw", self.size_bytes, nbdfuse, "nbdfuse")

    def paths(self):
        return [self.site.files / self.name / f"{n}" / "disk.raw" for n in range(self.count)]


ALL = (Diskgate, Plain, Reflink, Qsd, Nbd)


def data_bytes(path):
    return os.stat(path).st_blocks * 512


def need_room(folder, size_bytes):
    free = shutil.disk_usage(folder).free
    if free < size_bytes + (1 << 30):
        raise Skip(f"'{folder}' has {free >> 20} MiB free and {(size_bytes >> 20) + 1024} are needed; set DISKGATE_TEST_TMP")
