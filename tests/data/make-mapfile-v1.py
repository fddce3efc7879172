#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make mapfile-v1.map from the table in docs/map-file-format.md alone, without our own encoder.

A disk of 3 * 128 MiB + 512 bytes. Blocks 1-3 were written, block 2 was zeroed after that; directory entry 1 is zero as a whole;
the last block, which is short, was written. Needs the shared library of xxHash.
"""
import ctypes
import struct
import sys


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def xxh3_128(data):
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_128bits.restype = Hash128
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    h = library.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", h.high, h.low)


def record(index, plane, bits):
    return struct.pack("<QII", index, plane, 0) + bits.to_bytes(4096, "little")


PRESENT, ZERO = 0, 1
records = [
    record(0, ZERO, 1 << 2),
    record(0, PRESENT, 1 << 1 | 1 << 2 | 1 << 3),
    record(1, ZERO, (1 << 32768) - 1),
    record(3, PRESENT, 1),
]
overlay_id = bytes(i * 0x11 for i in range(16))
head = b"DGMAP\r\n\x1a" + struct.pack("<II", 1, 0) + overlay_id + struct.pack(
    "<QIIQQ", 3 * 128 * 1024 * 1024 + 512, 4096, 32768, 0x0102030405060708, len(records)) + b"base-identity"
whole = bytearray(head.ljust(4096, b"\0") + b"".join(records))
whole[4080:4096] = xxh3_128(bytes(whole))
with open(sys.argv[1] if len(sys.argv) > 1 else "mapfile-v1.map", "wb") as f:
    f.write(whole)
