# SPDX-License-Identifier: GPL-2.0-or-later
"""The store "diskgate" in a tgtd of its own, and who answers it, in place of diskgate-fs: core/direct.h and docs/live-map-format.md, from this side.

Three files say where a byte came from: the view, the base and the data file hold another byte each.
"""

import contextlib
import fcntl
import mmap
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time
import uuid

from . import system
from .iscsi import call

BLOCK = 4096
LEAF_BLOCKS = 32768
MAGIC, VERSION = 0x44524744, 1
ON, DATA, RECORD = 1, 2, 4
RING = 248
VIEW, BASE, PRESENT = 0x11, 0x22, 0x33
IQN = "iqn.2026-01.test.diskgate:direct"


def live_map(path, overlay_id, size, present=(), zero=(), **header):
    """A live map with one leaf for each plane of each 128 MiB; `present` and `zero` are block numbers."""
    dirs = -(-size // (LEAF_BLOCKS * BLOCK))
    leaf_off = BLOCK + -(-dirs * 8 // BLOCK) * BLOCK
    boot_id = uuid.UUID(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
    fields = {"magic": b"DGLIVE1\0", "version": 1, "boot_id": boot_id, "overlay": overlay_id.bytes, "size": size, "complete": 1, **header}
    head = struct.pack(
        "=8sII16s16s80sQQIIQII",
        *(fields["magic"], fields["version"], 0, fields["boot_id"], fields["overlay"], b"xxh3:0", fields["size"], leaf_off),
        *(fields["complete"], 2 * dirs, 0, 0, 0),
    )
    image = bytearray(leaf_off + 2 * dirs * BLOCK)
    image[: len(head)] = head
    for entry in range(dirs):
        struct.pack_into("=II", image, BLOCK + 8 * entry, 2 * entry + 1, 2 * entry + 2)
    for plane, blocks in enumerate((present, zero)):
        for block in blocks:
            at = leaf_off + (2 * (block // LEAF_BLOCKS) + plane) * BLOCK + block % LEAF_BLOCKS // 8
            image[at] |= 1 << block % 8
    pathlib.Path(path).write_bytes(image)


class Board:
    """The shared page, with numbers as core/direct.h has them."""

    def __init__(self, magic=MAGIC, seals=fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW):
        self.fd = os.memfd_create("board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, BLOCK)
        self.page = mmap.mmap(self.fd, BLOCK)
        struct.pack_into("=IIII", self.page, 0, magic, VERSION, ON | DATA, 0)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)

    def _u64(self, at):
        return struct.unpack_from("=Q", self.page, at)[0]

    def set_flags(self, flags):
        struct.pack_into("=I", self.page, 8, flags)

    def set_tail(self, tail):
        struct.pack_into("=Q", self.page, 40, tail)

    @property
    def reads(self):
        return self._u64(16)

    @property
    def read_bytes(self):
        return self._u64(24)

    @property
    def head(self):
        return self._u64(32)

    def notes(self):
        """(offset, length) of all that were written and not taken."""
        return [struct.unpack_from("=QQ", self.page, 120 + 16 * (n % RING)) for n in range(self._u64(40), self.head)]


class Disk:
    """One LUN: its files, its board, and what is answered for it. A test changes what it likes before it opens the LUN."""

    def __init__(self, folder, size, present=(), zero=(), base_bytes=None):
        self.id = uuid.uuid4()
        self.folder, self.size = folder, size
        self.base_bytes = size if base_bytes is None else base_bytes
        self.path = f"mnt/by-id/{self.id}.img"
        self.files = {name: folder / f"{self.id}.{name}" for name in ("map", "base", "data")}
        (folder / self.path).write_bytes(bytes([VIEW]) * size)
        self.files["base"].write_bytes(bytes([BASE]) * self.base_bytes)
        self.files["data"].write_bytes(bytes([PRESENT]) * size)
        live_map(self.files["map"], self.id, size, present, zero)
        self.board = Board()
        self.answer = {"magic": MAGIC, "version": VERSION, "error": 0, "generation": 0, "size": size, "base_bytes": self.base_bytes}
        self.modes = dict.fromkeys(self.files, os.O_RDONLY)

    def bytes(self):
        a = self.answer
        return struct.pack("=IIiIQQ", a["magic"], a["version"], a["error"], a["generation"], a["size"], a["base_bytes"])

    def open_files(self):
        return [os.dup(self.board.fd), *(os.open(path, self.modes[name]) for name, path in self.files.items())]

    def set_generation(self, number):
        with open(self.files["map"], "r+b") as file:
            file.seek(164)
            file.write(struct.pack("=I", number))

    def set_bits(self, block, present, zero):
        """As the writer of a map does: while it is mapped."""
        with open(self.files["map"], "r+b") as file, mmap.mmap(file.fileno(), 0) as image:
            (leaf_off,) = struct.unpack_from("=Q", image, 136)
            for plane, bit in enumerate((present, zero)):
                at = leaf_off + (2 * (block // LEAF_BLOCKS) + plane) * BLOCK + block % LEAF_BLOCKS // 8
                image[at] = image[at] & ~(1 << block % 8) | bit << block % 8


class Server:
    """Answers at `direct.sock`. `reply(disk)` may be replaced: what it returns is sent, bytes and descriptors; None = silence, until answer_all()."""

    def __init__(self, folder):
        self.disks, self.asked, self.held, self.waiting = {}, [], [], []
        self.reply = lambda disk: (disk.bytes(), disk.open_files())
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(folder / "direct.sock"))
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.held.append(connection)
                self._answer(connection)

    def _answer(self, connection):
        magic, version, overlay_id = struct.unpack("=II16s", connection.recv(64))
        assert (magic, version) == (MAGIC, VERSION)
        self.asked.append(uuid.UUID(bytes=overlay_id))
        disk = self.disks[self.asked[-1]]
        sent = self.reply(disk)
        if sent is None:
            self.waiting.append((connection, disk))
        else:
            self._send(connection, *sent)

    def _send(self, connection, text, files):
        with contextlib.suppress(OSError):
            socket.send_fds(connection, [text], files)
        for fd in files:
            os.close(fd)

    def answer_all(self):
        for connection, disk in self.waiting:
            self._send(connection, disk.bytes(), disk.open_files())

    def is_closed(self, number):
        """Has the other side ended its n-th connection?"""
        self.held[number].setblocking(False)
        try:
            return self.held[number].recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def die(self):
        """As a process that is killed: every connection ends, and nobody answers."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for connection in self.held:
            connection.close()


class Tgtd:
    """A tgtd with the library, working in `folder`, and one target whose LUNs are disks of the Server."""

    def __init__(self, folder, library, socket_name="direct.sock", more_env=()):
        self.folder = folder
        self.port = system.free_ports(1)
        self.env = {**os.environ, "TGT_IPC_SOCKET": "tgt"}
        own = {"DISKGATE_DIRECT_SOCKET": socket_name} if socket_name else {}
        self.log = open(folder / "tgtd.log", "wb")
        self.process = subprocess.Popen(
            ["tgtd", "-f", "-C", str(self.port), "-t", "2", "--iscsi", f"portal=127.0.0.1:{self.port}"],
            cwd=folder,
            env={**self.env, **own, "LD_PRELOAD": str(library), **dict(more_env)},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        system.wait_until(self.is_up, what="tgtd")
        self.adm("--op", "new", "--mode", "target", "--tid", 1, "-T", IQN)
        self.adm("--op", "bind", "--mode", "target", "--tid", 1, "-I", "ALL")

    def is_up(self):
        assert self.process.poll() is None, (self.folder / "tgtd.log").read_text()
        return self.try_adm("--op", "show", "--mode", "sys").returncode == 0

    def try_adm(self, *args):
        command = ["tgtadm", "-C", str(self.port), "--lld", "iscsi", *map(str, args)]
        return subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=30)

    def adm(self, *args):
        done = self.try_adm(*args)
        assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout

    def open(self, path, lun=1, store="diskgate", more=()):
        self.adm("--op", "new", "--mode", "logicalunit", "--tid", 1, "--lun", lun, "-b", path, "--bstype", store, *more)
        self.adm("--op", "update", "--mode", "logicalunit", "--tid", 1, "--lun", lun, "--params", "thin_provisioning=1")

    def close(self, lun=1):
        self.adm("--op", "delete", "--mode", "logicalunit", "--tid", 1, "--lun", lun)

    def url(self, lun=1):
        return f"iscsi://127.0.0.1:{self.port}/{IQN}/{lun}"

    def io(self, *commands, lun=1):
        """qemu-io's commands, in one session."""
        options = [word for text in commands for word in ("-c", text)]
        return call("qemu-io", "-f", "raw", "-d", "unmap", *options, self.url(lun))

    def said(self):
        return (self.folder / "tgtd.log").read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.try_adm("--op", "delete", "--force", "--mode", "target", "--tid", 1)
            self.try_adm("--op", "delete", "--mode", "system")
            end = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        was_up = self.process.poll() in (None, 0)
        self.process.kill()
        self.process.wait()
        self.log.close()
        system.release_ports(self.port)
        return was_up
