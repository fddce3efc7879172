#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make journal-v2.bin from the tables in docs/journal-format.md alone, without our own encoder.

The first 16384 bytes of each of the two areas of a journal whose areas have 1 MiB; a reader puts zeros behind each. Area 1 is the older
one (generation 6) and holds commits 41 and 42, behind them a commit of an older use; area 0 (generation 7) holds commit 43 and behind
it a commit 44 that was torn. Both areas say that they are of the root with the tag "0badcafe". Needs the shared library of xxHash.
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


AREA = 1 << 20
ROOT = b"0badcafe"
PRESENT, ZERO = 1, 2


def header(generation, index):
    text = (b"DGJRN\r\n\x1a" + struct.pack("<IIQQI", 2, 0, generation, AREA, index) + ROOT.ljust(16, b"\0")).ljust(4080, b"\0")
    return text + xxh3_128(text)


def entry(client, *runs):
    return (bytes(15) + bytes([client]) + struct.pack("<I", len(runs))).ljust(32, b"\0") + b"".join(
        struct.pack("<QII", *run) for run in runs)


def commit(generation, number, *entries):
    body = b"".join(entries)
    size = (64 + len(body) + 4095) // 4096 * 4096
    text = (b"DGCMT\r\n\x1a" + struct.pack("<QQII", generation, number, size, len(entries))).ljust(48, b"\0")
    text = (text + body).ljust(size - 16, b"\0")
    return xxh3_128(text) + text


torn = bytearray(commit(7, 44, entry(1, (5, 5, PRESENT))))
torn[100] ^= 1
old = header(6, 1) + commit(6, 41, entry(1, (7, 3, PRESENT), (100, 1, ZERO)), entry(2, (0, 32768, ZERO))) + \
    commit(6, 42, entry(1, (9, 1, ZERO))) + commit(4, 17, entry(1, (1, 1, PRESENT)))
new = header(7, 0) + commit(7, 43, entry(2, (1 << 32, (1 << 32) - 1, PRESENT))) + bytes(torn)
with open(sys.argv[1] if len(sys.argv) > 1 else "journal-v2.bin", "wb") as f:
    f.write(new.ljust(16384, b"\0") + old.ljust(16384, b"\0"))
