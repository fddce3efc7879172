# SPDX-License-Identifier: GPL-2.0-or-later
"""Access files for tests: the fixtures with their truth, what our reader makes of a file, and patched copies."""

import gzip
import json
import os
import pathlib
import string
import struct
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
READ_S = 120  # limit of one run of mdb-dump
MEMORY_KIB = 512 * 1024  # of reader and parent

TSV_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t", "0": "\ufffd"}  # our text has no zero characters


def fixtures():
    """The folder of Access fixtures, or None."""
    folder = pathlib.Path(os.environ.get("DISKGATE_SHARED", REPOSITORY.parent / "shared")) / "data" / "mdb"
    return folder if folder.is_dir() else None


def need_fixtures():
    return fixtures() or pytest.skip("the Access fixtures are not here: set DISKGATE_SHARED to the folder that has data/mdb")


def fixture_names(pattern="s*.*db"):
    folder = fixtures()
    return sorted(path.name for path in folder.glob(pattern) if path.is_file()) if folder else []


def build_folder():
    return pathlib.Path(os.environ.get("DISKGATE_BUILD", REPOSITORY / "build"))


class Dump:
    """One run of mdb-dump: error, message, info, tables {name: rows or None}, columns, ends, notes, doubts."""

    def __init__(self, path, *options):
        self.command = [str(build_folder() / "tests" / "system" / "helpers" / "mdb-dump"), *options, str(path)]
        done = subprocess.run(self.command, capture_output=True, timeout=READ_S + 15, stdin=subprocess.DEVNULL)
        assert done.returncode in (0, 1), f"{self.command}: status {done.returncode}: {done.stderr.decode(errors='replace')}"
        assert not done.stderr, f"{self.command} printed: {done.stderr.decode(errors='replace')}"
        self.error, self.message, self.info, self.notes, self.doubts = 0, "", None, [], []
        self.tables, self.columns, self.stored, self.linked, self.ends, self.memory = {}, {}, {}, {}, {}, None
        for line in done.stdout.decode().splitlines():
            self._take(json.loads(line))

    def _take(self, o):
        if "info" in o:
            self.info = o["info"]
        elif "table" in o:
            self.name = o["table"]
            self.tables[self.name], self.columns[self.name] = [], [tuple(pair) for pair in o["columns"]]
            self.stored[self.name] = o["stored"]
            if o["is_linked"]:
                self.linked[self.name] = o["linked_to"]
        elif "row" in o:
            self.tables[self.name].append(o["row"])
        elif "end" in o:
            self.ends[self.name] = o
        elif "note" in o:
            (self.doubts if o["is_doubt"] else self.notes).append(o["note"])
        elif "rss_kib" in o:
            self.memory = o
        else:
            self.error, self.message = o["error"], o["message"]

    def rows(self, name):
        """Rows of a table that was read without complaint, as dicts."""
        assert self.ends[name]["error"] == 0, self.ends[name]
        return [dict(zip((column for column, _ in self.columns[name]), row)) for row in self.tables[name]]


# --- the truth -----------------------------------------------------------------------------------------------------------


def _unescape(text):
    if text == "\\N":
        return None
    out, at = [], 0
    while at < len(text):
        if text[at] == "\\":
            out.append(TSV_ESCAPES[text[at + 1]])
            at += 2
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


class Truth:
    """The ground truth of a fixture: description, and for each table (name, [(column, type)], rows as lists of text or None)."""

    def __init__(self, path):
        self.folder = pathlib.Path(f"{path}.truth")
        self.description = json.loads((self.folder / "truth.json").read_text())
        self.tables = [self._table(table) for table in self.description["tables"] if table.get("data")]

    def _table(self, table):
        data = (self.folder / table["data"]).read_bytes()
        data = gzip.decompress(data) if table["data"].endswith(".gz") else data
        lines = data.decode().rstrip("\n").split("\n")
        rows = [[_unescape(field) for field in line.split("\t")] for line in lines[1:]]
        assert len(rows) == table["rows"]
        return table["name"], [(column["name"], column["type"]) for column in table["columns"]], rows


def canonical(kind, value):
    """One form for a value of the truth (text) and of the dump (typed). NULL, empty text and empty bytes are the same."""
    if value is None or value == "" or value == "x:":
        return None
    if kind == "bool":
        return value in (True, "true")
    if kind == "float":
        return struct.pack("<f", float(value))
    if kind == "double":
        return struct.pack("<d", float(value))
    if kind in ("byte", "int", "long", "bigint"):
        return int(value)
    return str(value)


# --- patched copies ------------------------------------------------------------------------------------------------------

PAGE = 4096  # of Jet 4 and ACE


def rc4(key, length):
    """The stream that is XORed to @length bytes."""
    s, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + s[i] + key[i % len(key)]) % 256
        s[i], s[j] = s[j], s[i]
    i = j = 0
    for _ in range(length):
        i = (i + 1) % 256
        j = (j + s[i]) % 256
        s[i], s[j] = s[j], s[i]
        out.append(s[(s[i] + s[j]) % 256])
    return bytes(out)


def _cover(length):
    return rc4(bytes.fromhex("c7da396b"), length)


def encode(data, page_bytes, key):
    """Encode all pages but the first as Access does, with a key of 32 bits."""
    set_header(data, 62, struct.pack("<I", key))
    for number in range(1, len(data) // page_bytes):
        stream = rc4(struct.pack("<I", key ^ number), page_bytes)
        begin = number * page_bytes
        data[begin : begin + page_bytes] = bytes(a ^ b for a, b in zip(data[begin : begin + page_bytes], stream))


def set_header(data, offset, value):
    """Write @value (bytes) into the covered part of the header."""
    cover = _cover(128)
    for i, byte in enumerate(value):
        data[offset + i] = byte ^ cover[offset + i - 24]


def definition_page(data, columns):
    """Number of the page that defines the table with these column names (Jet 4)."""
    for number in range(2, len(data) // PAGE):
        page = data[number * PAGE : (number + 1) * PAGE]
        if page[0] == 2 and all(struct.pack("<H", 2 * len(name)) + name.encode("utf-16-le") in page for name in columns):
            return number
    raise AssertionError(f"no table has the columns {columns}")


def column_entry(data, page, number):
    """Offset of the entry of column @number (as in the entry's field) of the definition at @page (Jet 4)."""
    base = page * PAGE
    count, indexes = struct.unpack_from("<H", data, base + 45)[0], struct.unpack_from("<I", data, base + 51)[0]
    for i in range(count):
        entry = base + 63 + 12 * indexes + 25 * i
        if struct.unpack_from("<H", data, entry + 5)[0] == number:
            return entry
    raise AssertionError(f"no column {number}")


# --- a large file ----------------------------------------------------------------------------------------------------------

MAP_PAGE_BITS = (PAGE - 4) * 8  # pages that a page of a usage map speaks of
MAC_PLACE = 1  # of the MAC among the columns of variable length


def grow(content, columns, copies):
    """A Jet 4 file whose table with these columns has its data pages @copies times: (bytes, rows).

    There is no writer of Access files in Debian, but none is needed to add rows: a data page names its table, and a table has a usage map of its
    pages. So the table's pages are appended again as they are, with other numbers in the first column (a long, the key) and another second byte in
    each MAC; their memos lie where the first ones' lie. The map in the table's map row, a bitmap of some hundred pages,
    becomes one that names map pages, which are appended, too. The stored number of rows follows. Indexes know nothing of the new rows; our reader,
    mdb-export and this test do not look at them. Pages with moved rows are left out, because their pointers would name the first ones' places.
    """
    data = bytearray(content)
    definition = definition_page(data, columns)
    stored = struct.unpack_from("<I", data, definition * PAGE + 16)[0]
    own = [n for n in range(1, len(data) // PAGE) if data[n * PAGE] == 1 and _u32(data, n * PAGE + 4) == definition]
    plain = [n for n in own if all(not offset & 0x4000 for offset in _row_offsets(data, n))]
    added, pages = 0, list(own)
    for copy in range(1, copies):
        for number in plain:
            page, rows = _another(data[number * PAGE : (number + 1) * PAGE], copy, stored)
            pages.append(len(data) // PAGE)
            added += rows
            data += page
    _set_usage_map(data, definition, pages)
    struct.pack_into("<I", data, definition * PAGE + 16, stored + added)
    return bytes(data), stored + added


def _u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def _row_offsets(data, page):
    base = page * PAGE
    return struct.unpack_from(f"<{struct.unpack_from('<H', data, base + 12)[0]}H", data, base + 14)


def _another(page, copy, step):
    """A page of other rows, and how many live ones it has."""
    page, rows, end = bytearray(page), 0, PAGE
    for offset in _row_offsets(page, 0):
        end, behind = offset & 0x1FFF, end
        if offset & 0xC000:
            continue
        rows += 1
        at = (offset & 0x1FFF) + 2  # behind the number of columns: the first fixed column
        struct.pack_into("<I", page, at, _u32(page, at) + copy * step * 2)
        _other_mac(page, end, behind, copy)
    return page, rows


def _other_mac(page, begin, end, copy):
    """The row [begin, end) ends with a list of places, the number of columns of variable length, and a bit for each column."""
    tail = end - (struct.unpack_from("<H", page, begin)[0] + 7) // 8
    first, behind = (begin + struct.unpack_from("<H", page, tail - 4 - 2 * i)[0] for i in (MAC_PLACE, MAC_PLACE + 1))
    digits = [at for at in range(first, behind) if chr(page[at]) in string.hexdigits]
    for at, digit in zip(digits[2:4], f"{copy:02x}"):
        page[at] = ord(digit)


def _set_usage_map(data, definition, pages):
    place = _u32(data, definition * PAGE + 55)
    page, row = place >> 8, place & 0xFF
    offsets = [offset & 0x1FFF for offset in _row_offsets(data, page)]
    begin, end = page * PAGE + offsets[row], page * PAGE + (offsets[row - 1] if row else PAGE)
    entries = [0] * ((end - begin - 1) // 4)
    for number in range(max(pages) // MAP_PAGE_BITS + 1):
        bitmap = bytearray(PAGE - 4)
        for bit in (n - number * MAP_PAGE_BITS for n in pages):
            if 0 <= bit < MAP_PAGE_BITS:
                bitmap[bit // 8] |= 1 << bit % 8
        entries[number] = len(data) // PAGE
        data += b"\x05\x01\0\0" + bitmap
    data[begin:end] = b"\x01" + struct.pack(f"<{len(entries)}I", *entries) + bytes((end - begin - 1) % 4)


def hundred_thousand():
    """(bytes, rows) of a file with about 100,000 clients, made of s07."""
    return grow((fixtures() / "s07_5000_2003.mdb").read_bytes(), ["ComputerName", "BootImage", "WriteBackPath"], 21)
