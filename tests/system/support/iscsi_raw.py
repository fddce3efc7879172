# SPDX-License-Identifier: GPL-2.0-or-later
"""An initiator that sends what it is told: any command, length and attribute, several at once, and leaves when it likes. RFC 7143."""

import socket
import struct

SIMPLE, ORDERED, HEAD = 1, 2, 3
READ, WRITE = 0x40, 0x20


def cdb_read(size, lba, blocks):
    """READ (6), (10), (12) or (16), 512-byte blocks."""
    if size == 6:
        return struct.pack(">BBHBB", 0x08, lba >> 16 & 0x1F, lba & 0xFFFF, blocks & 0xFF, 0)
    if size == 10:
        return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)
    if size == 12:
        return struct.pack(">BBIIBB", 0xA8, 0, lba, blocks, 0, 0)
    return struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)


def cdb_write(lba, blocks):
    return struct.pack(">BBIBHB", 0x2A, 0, lba, 0, blocks, 0)


class Session:
    """One connection, logged in; answers come in the order of their commands' tags."""

    def __init__(self, port, iqn, lun=1):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lun, self.tag, self.cmd_sn, self.stat_sn = lun, 1, 1, 0
        keys = {"InitiatorName": "iqn.2026-01.test:raw", "TargetName": iqn, "SessionType": "Normal", "MaxRecvDataSegmentLength": 262144}
        self._login("".join(f"{k}={v}\0" for k, v in keys.items()).encode())
        self.command(bytes(6))  # the first one is told that the target was started

    def _login(self, text):
        head = struct.pack(">BBBBI8sIHHII16x", 0x43, 0x87, 0, 0, len(text), bytes([0x80, 0, 0, 0, 0, 1, 0, 0]), 0, 0, 0, self.cmd_sn, 0)
        self.socket.sendall(head + text + bytes(-len(text) % 4))
        head, _ = self._receive()
        assert head[0] & 0x3F == 0x23 and head[36:38] == b"\0\0", head
        assert head[1] & 0x83 == 0x83, "the login goes on"
        (self.stat_sn,) = struct.unpack_from(">I", head, 24)

    def _bytes(self, count):
        done = b""
        while len(done) < count:
            piece = self.socket.recv(count - len(done))
            if not piece:
                raise ConnectionError("the target hung up")
            done += piece
        return done

    def _receive(self):
        head = self._bytes(48)
        length = int.from_bytes(head[5:8], "big")
        return head, self._bytes(length + -length % 4)[:length]

    def pdu(self, cdb, expected=0, data=b"", attribute=SIMPLE):
        """The packet of one command; `expected` bytes come back, or `data` goes along."""
        direction = WRITE if data else READ if expected else 0
        head = struct.pack(
            ">BBHI8sIIII16s",
            *(0x01, 0x80 | direction | attribute, 0, len(data), bytes([0, self.lun, 0, 0, 0, 0, 0, 0])),
            *(self.tag, len(data) or expected, self.cmd_sn, self.stat_sn + 1, cdb.ljust(16, b"\0")),
        )
        self.tag += 1
        self.cmd_sn += 1
        return head + data + bytes(-len(data) % 4)

    def send(self, *pdus):
        self.socket.sendall(b"".join(pdus))

    def answer(self):
        """(tag, status, data, residual) of the command that is done next; a residual < 0 was too much for the initiator."""
        data = b""
        while True:
            head, piece = self._receive()
            opcode = head[0] & 0x3F
            (tag,) = struct.unpack_from(">I", head, 16)
            if opcode == 0x25:
                data += piece
            if opcode == 0x21 or (opcode == 0x25 and head[1] & 1):
                (self.stat_sn,) = struct.unpack_from(">I", head, 24)
                (residual,) = struct.unpack_from(">I", head, 44)
                sign = -1 if head[1] & 4 else 1 if head[1] & 2 else 0
                return tag, head[3], data, sign * residual

    def command(self, *args, **kinds):
        self.send(self.pdu(*args, **kinds))
        return self.answer()[1:]

    def close(self):
        self.socket.close()
