# SPDX-License-Identifier: GPL-2.0-or-later
"""A store of a LUN as core/direct.h has it, in Python: asks diskgate-fs for what it needs and reads by itself what it may."""

import contextlib
import fcntl
import mmap
import os
import socket
import struct
import uuid

MAGIC, VERSION = 0x44524744, 1
ON, DATA, RECORD = 1, 2, 4
RING = 248
BLOCK = 4096
LEAF_BLOCKS = 32768
LEAF_ALL = 0xFFFFFFFF

# struct direct_board
FLAGS, READS, READ_BYTES, HEAD, TAIL, NOTES = 8, 16, 24, 32, 40, 120


class Refused(Exception):
    """args[0]: the errno."""


class Map:
    """docs/live-map-format.md"""

    def __init__(self, fd):
        self.bytes = mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, mmap.PROT_READ)
        assert self.bytes[:8] == b"DGLIVE1\0"
        self.overlay_id = self.bytes[32:48]
        self.leaf_off = self.number(136, 8)

    def number(self, at, size):
        return int.from_bytes(self.bytes[at : at + size], "little")

    def generation(self):
        return self.number(164, 4)

    def bit(self, leaf, block):
        if leaf in (0, LEAF_ALL):
            return leaf == LEAF_ALL
        return self.bytes[self.leaf_off + (leaf - 1) * BLOCK + block // 8] >> block % 8 & 1

    def state(self, block):
        """The zero plane is looked at before the present one."""
        entry, block = 4096 + block // LEAF_BLOCKS * 8, block % LEAF_BLOCKS
        if self.bit(self.number(entry + 4, 4), block):
            return "zero"
        return "present" if self.bit(self.number(entry, 4), block) else "absent"


class Store:
    def __init__(self, root, overlay_id):
        self.fds = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        try:
            self.ask(root, overlay_id)
        except BaseException:
            self.close()
            raise

    def ask(self, root, overlay_id):
        here = os.open(root.path / "run", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.socket.connect(f"/proc/self/fd/{here}/direct.sock")
        finally:
            os.close(here)
        self.socket.send(struct.pack("<II16s", MAGIC, VERSION, uuid.UUID(overlay_id).bytes))
        answer, self.fds, _, _ = socket.recv_fds(self.socket, 64, 4)
        magic, version, error, self.generation, self.size, self.base_bytes = struct.unpack("<IIiIQQ", answer)
        assert (magic, version) == (MAGIC, VERSION)
        if error:
            assert not self.fds
            raise Refused(-error)
        board, live, self.base, self.data = self.fds
        modes = [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE for fd in self.fds]
        assert modes == [os.O_RDWR, os.O_RDONLY, os.O_RDONLY, os.O_RDONLY]
        self.board = mmap.mmap(board, 4096)
        self.map = Map(live)
        assert self.map.overlay_id == uuid.UUID(overlay_id).bytes

    def close(self):
        self.socket.close()
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def get(self, at, size=8):
        return int.from_bytes(self.board[at : at + size], "little")

    def put(self, at, value):
        self.board[at : at + 8] = value.to_bytes(8, "little")

    @property
    def flags(self):
        return self.get(FLAGS, 4)

    def piece(self, state, offset, length):
        here = 0 if state == "zero" else length
        if state == "absent":
            here = max(0, min(length, self.base_bytes - offset))
        buffer = bytearray(length)
        if here:
            fd = self.data if state == "present" else self.base
            try:
                if os.preadv(fd, [memoryview(buffer)[:here]], offset, os.RWF_NOWAIT) != here:
                    return None
            except BlockingIOError:
                return None
        return bytes(buffer)

    def note(self, offset, length):
        head = self.get(HEAD)
        if head - self.get(TAIL) >= RING:
            return self.is_alone()
        self.put(NOTES + head % RING * 16, offset)
        self.put(NOTES + head % RING * 16 + 8, length)
        self.put(HEAD, head + 1)
        return True

    def is_alone(self):
        """The other end is dead: nobody takes notes."""
        try:
            return self.socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False

    def read(self, offset, length):
        """The bytes, or None: this read has to go through the mount."""
        parts, needed = [], ON
        for block in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1):
            start, end = max(offset, block * BLOCK), min(offset + length, (block + 1) * BLOCK)
            state = self.map.state(block)
            needed |= DATA if state == "present" else 0
            parts.append(self.piece(state, start, end - start))
        if None in parts or self.flags & needed != needed or self.map.generation() != self.generation:
            return None
        if self.flags & RECORD and not self.note(offset, length):
            return None
        self.put(READS, self.get(READS) + 1)
        self.put(READ_BYTES, self.get(READ_BYTES) + length)
        return b"".join(parts)
