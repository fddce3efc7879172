# SPDX-License-Identifier: GPL-2.0-or-later
"""Differencing VHDs, which qemu-img does not make: written from the published format (see core/vhd.h and core/vhd-chain.h)."""

import struct
import uuid

SECTOR = 512
BLOCK = 2 << 20
NO_BLOCK = 0xFFFFFFFF


def _sum(data, at):
    return ~(sum(data[:at]) + sum(data[at + 4 :])) & 0xFFFFFFFF


def footer(size, kind, identity, header_off):
    data = bytearray(struct.pack(">8sIIQI4sI4sQQIII16sB", b"conectix", 2, 0x10000, header_off, 0, b"test", 1, b"Wi2k", size, size, 0, kind, 0, identity, 0))
    data += bytes(512 - len(data))
    struct.pack_into(">I", data, 64, _sum(data, 64))
    return bytes(data)


def identity_of(path):
    """The unique id in the footer of a VHD."""
    with open(path, "rb") as file:
        file.seek(-512, 2)
        return file.read(512)[68:84]


def write_differencing(path, size, sectors, parent_id, parent_name, locator=None):
    """A differencing VHD of `size` bytes that holds {sector: 512 bytes}; returns its unique id."""
    identity = uuid.uuid4().bytes
    table_off, n_blocks = 512 + 1024 + 512, (size + BLOCK - 1) // BLOCK
    table_len = (n_blocks * 4 + 511) // 512 * 512
    text = (locator or parent_name).encode("utf-16-le")
    header = bytearray(struct.pack(">8sQQIII4s16sII", b"cxsparse", 2**64 - 1, table_off, 0x10000, n_blocks, BLOCK, bytes(4), parent_id, 0, 0))
    header += parent_name.encode("utf-16-be").ljust(512, b"\0")
    header += struct.pack(">4sIIIQ", b"W2ku", 512, len(text), 0, 512 + 1024)
    header += bytes(1024 - len(header))
    struct.pack_into(">I", header, 36, _sum(header, 36))
    blocks = sorted({sector * SECTOR // BLOCK for sector in sectors})
    table, at, data = [NO_BLOCK] * n_blocks, table_off + table_len, b""
    for block in blocks:
        table[block] = at // SECTOR
        bitmap, content = bytearray(BLOCK // SECTOR // 8), bytearray(BLOCK)
        for sector, value in sectors.items():
            if sector * SECTOR // BLOCK == block:
                k = sector - block * BLOCK // SECTOR
                bitmap[k // 8] |= 0x80 >> k % 8
                content[k * SECTOR : (k + 1) * SECTOR] = value
        piece = bytes(bitmap).ljust((len(bitmap) + 511) // 512 * 512, b"\0") + bytes(content)
        data += piece
        at += len(piece)
    end = footer(size, 4, identity, 512)
    with open(path, "wb") as file:
        file.write(end + bytes(header) + text.ljust(512, b"\0"))
        file.write(b"".join(struct.pack(">I", entry) for entry in table).ljust(table_len, b"\xff"))
        file.write(data + end)
    return identity
