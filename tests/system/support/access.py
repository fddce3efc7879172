# SPDX-License-Identifier: GPL-2.0-or-later
"""Access files for tests: the fixtures with their truth, what our reader makes of a file, and patched copies."""

import gzip
import json
import os
import pathlib
import struct
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
READ_S = 30  # limit of one run of mdb-dump
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


def uncovered(data):
    """Header bytes 24 to 151 of Jet 4 as they are without the fixed RC4 cover."""
    return bytes(a ^ b for a, b in zip(data[24:152], _cover(128)))


def _cover(length):
    key, s, j, out = bytes.fromhex("c7da396b"), list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + s[i] + key[i % 4]) % 256
        s[i], s[j] = s[j], s[i]
    i = j = 0
    for _ in range(length):
        i = (i + 1) % 256
        j = (j + s[i]) % 256
        s[i], s[j] = s[j], s[i]
        out.append(s[(s[i] + s[j]) % 256])
    return bytes(out)


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
