# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader of Access files: every fixture row by row, damaged files, and cases that no fixture has, made by patching some."""

import collections
import datetime
import errno
import itertools
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import time

import pytest
from support import access
from support.access import PAGE, Dump, Truth, canonical

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def helper():
    path = access.build_folder() / "tests" / "system" / "helpers" / "mdb-dump"
    assert path.exists(), f"'{path}' is not built; run meson compile, or set DISKGATE_BUILD"


@pytest.fixture
def data():
    return access.need_fixtures()


@pytest.fixture
def patched(data, tmp_path):
    """A function that makes a changed copy of a fixture: patched(name, change) where change(bytearray) may return another one."""

    def make(name, change):
        content = bytearray((data / name).read_bytes())
        content = change(content) or content
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return make


def as_set(kinds, rows):
    return collections.Counter(tuple(canonical(kind, value) for kind, value in zip(kinds, row)) for row in rows)


def compare(truth, dump):
    """All differences between the tables of the truth and what was read."""
    wrong = []
    for name, columns, rows in truth.tables:
        if name.startswith("~"):
            assert name not in dump.tables
            continue
        kinds = [kind for _, kind in columns]
        assert dump.columns[name] == columns
        assert dump.ends[name] == {"end": len(rows), "error": 0, "message": ""}
        expected, found = as_set(kinds, rows), as_set(kinds, dump.tables[name])
        wrong += [(name, "missing", row) for row in expected - found] + [(name, "too many", row) for row in found - expected]
    return wrong


# --- fixtures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", access.fixture_names() or ["absent"])
def test_mdb_fixture_is_read_as_it_was_written(data, name):
    truth, dump = Truth(data / name), Dump(data / name)
    assert dump.error == 0, dump.message
    assert compare(truth, dump)[:3] == []
    assert dump.doubts == []
    assert dump.info["sha256"] == truth.description["sha256"]
    assert {table for table in dump.tables if table not in dump.linked} == {n for n, _, _ in truth.tables if not n.startswith("~")}


@pytest.mark.parametrize("name", access.fixture_names() or ["absent"])
def test_mdb_sample_of_more_rows_than_there_are_is_all_rows(data, name):
    """Deleted rows are not in it, moved ones are, each once."""
    whole, sample = Dump(data / name), Dump(data / name, "--sample", "300000")
    for table in set(whole.tables) - set(whole.linked):
        assert sorted(map(repr, sample.tables[table])) == sorted(map(repr, whole.tables[table])), table
    assert sample.doubts == []


def test_mdb_sample_comes_from_all_over_the_table(data, tmp_path):
    content, rows = access.hundred_thousand()
    (tmp_path / "large.mdb").write_bytes(content)
    whole, sample = (Dump(tmp_path / "large.mdb", "--table", "Clients", *options) for options in ([], ["--sample", "2500"]))
    places = {row[0]: place for place, row in enumerate(whole.tables["Clients"])}
    taken = [places[row[0]] for row in sample.tables["Clients"]]
    assert 2400 < len(taken) <= 2500 and len(set(taken)) == len(taken)
    assert all(sample.rows("Clients")[n] == whole.rows("Clients")[place] for n, place in enumerate(taken[:20]))
    for part in range(10):
        assert 190 < sum(place * 10 // rows == part for place in taken) < 310
    neighbours = sum(b - a == 1 for a, b in zip(sorted(taken), sorted(taken)[1:]))
    assert 20 < neighbours < 120  # as many as by chance: 2500 * 2500 / rows


def test_mdb_says_what_protects_a_file(data):
    plain, password, encoded = (Dump(data / f"{n}.mdb", "--count") for n in ("s01_basic_2000", "s12_password_2000", "s13_encoded_2000"))
    assert not plain.info["has_password"] and not plain.info["was_encoded"]
    assert password.info["has_password"] and not password.info["was_encoded"]
    assert encoded.info["was_encoded"] and any("decoded" in note for note in encoded.notes)


def test_mdb_names_the_file_of_a_linked_table(data):
    dump = Dump(data / "s15_linked_2000.mdb")
    assert dump.linked == {"Clients": "C:\\CCBoot\\Data\\clients_be.mdb"}
    assert dump.ends["Clients"]["error"] == errno.EOPNOTSUPP
    assert "clients_be.mdb" in dump.ends["Clients"]["message"]
    assert any("'Clients' is only a link to" in note and "clients_be.mdb" in note for note in dump.notes)


# --- damaged files -------------------------------------------------------------------------------------------------------

REFUSED = {
    "b01_zero_bytes.mdb": "empty",
    "b02_text.mdb": "plain text",
    "b03_sqlite.mdb": "SQLite",
    "b04_header_page_only.mdb": "cut off",
    "b07_all_zero.mdb": "zeros",
    "b08_random_after_header.mdb": "list of tables",
    "b09_unknown_version.mdb": "version 9",
    "b10_catalog_definition_zeroed.mdb": "list of tables",
    "b11_header_cut_30_bytes.mdb": "cut off",
    "c06_null_usage_map.mdb": "none of its tables",
    "c07_65535_columns_loop.mdb": "none of its tables",
}
READ = {"b05_cut_in_half.mdb", "b06_cut_1000_bytes.mdb", "b12_row_count_zero.mdb", "b13_damaged_row_offsets.mdb"}
READ |= {"c01_memo_selfloop.mdb", "c04_lvprop_cycle.mdb"}


def within_limits(dump):
    assert dump.memory is None or max(dump.memory.values()) < access.MEMORY_KIB
    return dump


@pytest.mark.parametrize("name", access.fixture_names("bad/*.mdb") or ["absent"])
def test_mdb_bad_file_is_refused_or_read_with_doubts(data, name):
    dump = within_limits(Dump(data / "bad" / name))
    if name in REFUSED:
        assert dump.error in (errno.EBADMSG, errno.EOPNOTSUPP)
        assert REFUSED[name] in dump.message
    else:
        assert name in READ
        assert dump.error == 0, dump.message
        assert dump.doubts or name == "c04_lvprop_cycle.mdb"  # that damage lies where we never look


def rows_by_truth(data, dump, table="Clients"):
    """(number of rows that are in s01's truth, others)"""
    _, columns, rows = next(t for t in Truth(data / "s01_basic_2000.mdb").tables if t[0] == table)
    kinds = [kind for _, kind in columns]
    expected, found = as_set(kinds, rows), as_set(kinds, dump.tables[table])
    return (expected & found).total(), (found - expected).total()


def test_mdb_stored_row_count_is_not_trusted(data):
    dump = Dump(data / "bad" / "b12_row_count_zero.mdb")
    assert rows_by_truth(data, dump) == (32, 0)
    assert any("'Clients' is said to be empty, but 32 rows were found" in doubt for doubt in dump.doubts)


def test_mdb_lost_rows_are_counted_and_not_invented(data):
    dump = Dump(data / "bad" / "b13_damaged_row_offsets.mdb")
    good, others = rows_by_truth(data, dump)
    assert 20 <= good < 32
    assert others <= 2  # whose bytes were damaged, too
    assert any("cannot be read" in doubt for doubt in dump.doubts)
    assert any("said to have 32 rows" in doubt for doubt in dump.doubts)


def test_mdb_cut_file_gives_no_row_that_was_not_written(data):
    dump = Dump(data / "bad" / "b05_cut_in_half.mdb")
    assert rows_by_truth(data, dump)[1] == 0
    assert any("no multiple of its page size" in doubt for doubt in dump.doubts)


@pytest.mark.parametrize("name", ["c01_memo_selfloop.mdb", "c04_lvprop_cycle.mdb"])
def test_mdb_hostile_file_gives_its_readable_rows(data, name):
    dump = Dump(data / "bad" / name)
    assert len(dump.rows("Clients")) == 20
    bad = [row["ID"] for row in dump.rows("Clients") if isinstance(row["Comment"], dict)]
    assert bad == ([5] if name.startswith("c01") else [])


# --- cases without a fixture ----------------------------------------------------------------------------------------------


def test_mdb_office_encryption_is_refused_with_the_way_out(patched):
    path = patched("s03_fk_2010.accdb", lambda d: access.set_header(d, 62, b"\x12\x34\x56\x78"))
    dump = Dump(path)
    assert dump.error == errno.EOPNOTSUPP
    assert "Office encryption" in dump.message and "remove the password" in dump.message


@pytest.mark.parametrize(
    "begin, word",
    [(b"\0\1\0\0MSISAM Database\0", "Money"), (b"PK\3\4", "ZIP"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office"), (b"\x90\x13", "does not begin")],
)
def test_mdb_other_files_are_called_by_their_name(tmp_path, begin, word):
    path = tmp_path / "clients.mdb"
    path.write_bytes(begin + bytes(range(256)) * 64)
    dump = Dump(path)
    assert dump.error == errno.EOPNOTSUPP
    assert word in dump.message


def test_mdb_things_that_are_no_files_are_refused(tmp_path):
    assert Dump(tmp_path).error == errno.EINVAL
    assert Dump(tmp_path / "absent.mdb").error == errno.ENOENT


def test_mdb_encoded_access_97_is_decoded(data, patched):
    dump = Dump(patched("s05_jet3_latin.mdb", lambda d: access.encode(d, 2048, 0x12345678)))
    assert dump.info["was_encoded"]
    assert compare(Truth(data / "s05_jet3_latin.mdb"), dump) == []


def set_code_page(number):
    return lambda d: access.set_header(d, 60, struct.pack("<H", number))


def test_mdb_chinese_text_in_a_western_file_is_noticed_and_read_with_charset(data, patched):
    path = patched("s04_jet3_gbk.mdb", set_code_page(1252))
    plain, told = Dump(path), Dump(path, "--charset", "GBK")
    assert plain.info["charset"] == "CP1252"
    assert any("--charset GBK" in doubt for doubt in plain.doubts)
    assert told.info["charset"] == "GBK" and told.doubts == []
    assert compare(Truth(data / "s04_jet3_gbk.mdb"), told) == []


def test_mdb_western_text_is_not_taken_for_chinese(data):
    assert Dump(data / "s05_jet3_latin.mdb").doubts == []


def test_mdb_big5_text_with_a_backslash_in_a_character(patched):
    text, big5 = "短备注".encode("gbk"), "許功蓋".encode("big5")  # the second bytes are backslashes
    assert big5.count(b"\\") == 3

    def change(d):
        set_code_page(950)(d)
        at = d.find(text)
        d[at : at + 6] = big5

    comments = [row[8] for row in next(iter(Dump(patched("s04_jet3_gbk.mdb", change)).tables.values()))]
    assert "許功蓋" in comments


def test_mdb_unknown_code_page_is_a_doubt(patched):
    assert any("code page 9999" in doubt for doubt in Dump(patched("s05_jet3_latin.mdb", set_code_page(9999))).doubts)


def test_mdb_characters_that_are_none_are_counted(patched):
    name = "PC002".encode("utf-16-le")

    def change(d):
        at = d.find(name)
        d[at : at + 4] = b"\x00\xdc\x00\xd8"  # halves of pairs in the wrong order

    dump = Dump(patched("s01_basic_2000.mdb", change))
    assert any("2 characters of the table 'Clients'" in doubt for doubt in dump.doubts)
    assert "\ufffd\ufffd002" in [row["ComputerName"] for row in dump.rows("Clients")]


def test_mdb_bad_charset_is_refused(data):
    for name in ("nonsense", "UTF-16", "-", "GBK//IGNORE"):
        assert Dump(data / "s04_jet3_gbk.mdb", "--charset", name).error == errno.EINVAL


def all_types(change_entry, number):
    """A change of one column's entry in the definition of s06."""

    def change(d):
        entry = access.column_entry(d, access.definition_page(d, ["fMoney", "fFloat"]), number)
        change_entry(d, entry)

    return change


def test_mdb_bigint_is_read(patched):
    dump = Dump(patched("s06_types_2003.mdb", all_types(lambda d, e: d.__setitem__(e, 0x13), 5)))  # fMoney
    assert dict(dump.columns["AllTypes"])["fMoney"] == "bigint"
    assert dump.rows("AllTypes")[1]["fMoney"] == 2**63 - 1
    assert dump.rows("AllTypes")[2]["fMoney"] == -(2**63)


def test_mdb_extended_date_is_read(patched):
    long_path = "E:\\CCBoot Images\\win11 (test).vhdx".encode("utf-16-le")
    date = f"{738000:019d}:{45296 * 10**7 + 1234567:019d}:7\0".encode()
    assert len(date) == 42

    def change(d):
        page = access.definition_page(d, ["BootImage", "WriteBackPath"])
        d[access.column_entry(d, page, 8)] = 0x14
        at = d.find(long_path)
        d[at : at + len(date)] = date

    dump = Dump(patched("s01_basic_2000.mdb", change))
    values = [row["BootImage"] for row in dump.rows("Clients")]
    assert dict(dump.columns["Clients"])["BootImage"] == "date"
    assert f"{datetime.date(1, 1, 1) + datetime.timedelta(738000)}T12:34:56" in values
    assert {"bad": "no date"} in values or {"bad": "short"} in values
    assert any("column 'BootImage'" in doubt for doubt in dump.doubts)


@pytest.mark.parametrize("kind, name", [(0x12, "attachment"), (0x11, "type 0x11"), (0x77, "type 0x77")])
def test_mdb_column_of_an_unknown_type_is_left_out_with_a_note(patched, kind, name):
    dump = Dump(patched("s06_types_2003.mdb", all_types(lambda d, e: d.__setitem__(e, kind), 4)))  # fLong
    assert dict(dump.columns["AllTypes"])["fLong"] == name
    assert {row["fLong"] for row in dump.rows("AllTypes")} == {None}
    assert any("'fLong'" in note and name in note for note in dump.notes)
    assert dump.doubts == []


def test_mdb_impossible_date_is_bad_and_not_another_date(patched):
    days = struct.pack("<d", 2958465.999988426)  # 9999-12-31 23:59:59

    def change(d):
        at = d.find(days)
        d[at : at + 8] = struct.pack("<d", 1e300)

    dump = Dump(patched("s06_types_2003.mdb", change))
    assert dump.rows("AllTypes")[1]["fDate"] == {"bad": "no date"}
    assert any("no date" in doubt for doubt in dump.doubts)


def test_mdb_memo_of_impossible_length_is_bad(patched):
    def change(d):
        memo = struct.pack("<I", 140000)  # of 70,000 characters, in a chain
        at = d.find(memo, 4096)
        assert at > 0
        d[at : at + 4] = struct.pack("<I", 0x3FFFFFFF)

    dump = within_limits(Dump(patched("s06_types_2003.mdb", change)))
    assert {"bad": "too large"} in [row["fMemo"] for row in dump.rows("AllTypes")]


def test_mdb_memo_that_points_at_rows_is_not_followed(data, patched):
    """Else another client's bytes would be taken for a comment."""

    def change(d):
        pages = [n for n in range(1, len(d) // PAGE) if d[n * PAGE] == 1]
        page = access.definition_page(d, ["BootImage", "WriteBackPath"])
        lval = [n for n in pages if d[n * PAGE + 4 : n * PAGE + 8] == b"LVAL"]
        rows = [n for n in pages if struct.unpack_from("<I", d, n * PAGE + 4)[0] == page]
        for own, other, row in itertools.product(rows, lval, range(16)):
            at = d.find(struct.pack("<I", other << 8 | row), own * PAGE, (own + 1) * PAGE)
            if at > 0:
                d[at : at + 4] = struct.pack("<I", own << 8 | row)
                return
        raise AssertionError("no memo is there")

    dump = Dump(patched("s01_basic_2000.mdb", change))
    assert {"bad": "astray"} in [row["Comment"] for row in dump.rows("Clients")]
    assert any("(astray)" in doubt for doubt in dump.doubts)


def test_mdb_names_may_hold_anything(patched):
    old, new = "Clients".encode("utf-16-le"), "x'\"; -\n".encode("utf-16-le")

    def change(d):
        at = d.find(old)
        while at >= 0:
            d[at : at + len(old)] = new
            at = d.find(old, at + 1)

    dump = Dump(patched("s01_basic_2000.mdb", change))
    assert len(dump.rows("x'\"; -\n")) == 32


def test_mdb_change_while_reading_is_noticed(data, tmp_path):
    """Its rows fill the pipe and wait for us; meanwhile the file grows."""
    path = tmp_path / "growing.mdb"
    shutil.copy(data / "s07_5000_2003.mdb", path)
    program = access.build_folder() / "tests" / "system" / "helpers" / "mdb-dump"
    dump = subprocess.Popen([str(program), str(path)], stdout=subprocess.PIPE)
    try:
        dump.stdout.readline()  # it is open
        with open(path, "ab") as file:
            file.write(bytes(PAGE))
        text, _ = dump.communicate(timeout=access.READ_S)
    finally:
        dump.kill()
        dump.wait()
    assert b"was changed while it was read" in text


def test_mdb_reader_is_locked_in_while_it_parses(tmp_path, data):
    """Nobody reads our answer, so the reader waits in the middle of the rows and can be looked at."""
    (tmp_path / "large.mdb").write_bytes(access.hundred_thousand()[0])
    program = access.build_folder() / "tests" / "system" / "helpers" / "mdb-dump"
    with subprocess.Popen([str(program), str(tmp_path / "large.mdb")], stdout=subprocess.PIPE) as dump:
        try:
            status = wait_for_reader(dump.pid)
            descriptors = sorted(path.name for path in pathlib.Path(f"/proc/{status['Pid']}/fd").iterdir())
        finally:
            dump.kill()
    assert (status["Seccomp"], status["NoNewPrivs"], int(status["CapEff"], 16)) == ("2", "1", 0)
    assert os.geteuid() != 0 or status["Uid"].split() == ["65534"] * 4
    assert descriptors == ["0", "1", "2"]


def wait_for_reader(parent):
    """/proc/PID/status of the reader that walks over rows, once it has taken its last lock."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for pid in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                text = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            status = {key: value.strip() for key, value in (line.split(":", 1) for line in text.splitlines())}
            if words[1:2] == [b"rows"] and status["Seccomp"] == "2":
                return status
        time.sleep(0.01)
    raise AssertionError("no reader came")


def test_mdb_reader_without_memory_is_said_in_a_sentence(data):
    dump = Dump(data / "s17_memo_2003.mdb", "--memory", "4")
    assert dump.error == errno.EBADMSG and "the reader" in dump.message


def test_mdb_memory_does_not_grow_with_the_rows(data, tmp_path):
    content, rows = access.hundred_thousand()
    (tmp_path / "large.mdb").write_bytes(content)
    small = Dump(data / "s07_5000_2003.mdb", "--count", "--table", "Clients")
    large = Dump(tmp_path / "large.mdb", "--count", "--table", "Clients")
    assert large.ends["Clients"] == {"end": rows, "error": 0, "message": ""} and rows > 99000
    assert large.doubts == []
    for who in ("rss_kib", "reader_rss_kib"):
        assert large.memory[who] < small.memory[who] + 2048


# --- inspect ---------------------------------------------------------------------------------------------------------------


def inspect(*arguments):
    program = access.build_folder() / "migrate" / "diskgate-migrate"
    done = subprocess.run([str(program), "inspect", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_inspect_shows_what_the_truth_says(data):
    for name in ("s04_jet3_gbk.mdb", "s14_multiimage_2007.accdb"):
        status, text, _ = inspect("--json", data / name)
        found, truth = json.loads(text), Truth(data / name)
        assert status == 0 and found["sha256"] == truth.description["sha256"]
        for table, columns, rows in truth.tables:
            shown = next(t for t in found["tables"] if t["name"] == table)
            assert shown["rows"] == len(rows)
            assert [(c["name"], c["type"]) for c in shown["columns"]] == columns
            for place, column in enumerate(shown["columns"]):
                kind = columns[place][1]
                values = [row[place] for row in rows if canonical(kind, row[place]) is not None]
                assert column["values"] == (len(rows) if kind == "bool" else len(values))
                if kind == "text":
                    assert column["samples"] == list(dict.fromkeys(values))[:3]


def test_inspect_escapes_what_would_change_the_terminal(patched):
    def change(d):
        at = d.find("PC001".encode("utf-16-le"))
        d[at : at + 10] = "\x1b[2J\u202e".encode("utf-16-le")

    path = patched("s01_basic_2000.mdb", change)
    status, text, _ = inspect(path)
    assert status == 0 and "[2J" in text
    assert all(line.isprintable() for line in text.splitlines())
    assert "\x1b[2J\u202e" in json.loads(inspect("--json", path)[1])["tables"][0]["columns"][1]["samples"]


def test_inspect_ends_with_3_on_doubts_and_1_on_other_files(data, tmp_path):
    assert inspect(data / "bad" / "c01_memo_selfloop.mdb")[0] == 3
    status, text, errors = inspect(data / "bad" / "b03_sqlite.mdb")
    assert (status, text) == (1, "") and "SQLite" in errors
    assert inspect("--as", "nonsense", data / "s01_basic_2000.mdb")[0] == 2


# --- mutations, through the jail --------------------------------------------------------------------------------------------


def mutate(source, content):
    out = bytearray(content)
    kind = source.randrange(5)
    pages = len(out) // 2048
    if kind == 0:
        for _ in range(source.randint(1, 8)):
            out[source.randrange(len(out))] = source.randrange(256)
    elif kind == 1:  # heads and tables of rows
        for _ in range(source.randint(1, 8)):
            out[min(len(out) - 1, source.randrange(1, pages) * 2048 + source.randrange(64))] = source.choice((0, 1, 0x7F, 0xFF, source.randrange(256)))
    elif kind == 2:
        at = source.randrange(len(out))
        out[at : at + 512] = source.randbytes(len(out[at : at + 512]))
    elif kind == 3:
        del out[source.randrange(len(out)) :]
    else:
        a, b = source.randrange(pages) * 2048, source.randrange(pages) * 2048
        out[a : a + 2048] = out[b : b + 2048]
    return bytes(out)


@pytest.mark.parametrize("name", ["s01_basic_2000.mdb", "s04_jet3_gbk.mdb", "s14_multiimage_2007.accdb"])
def test_mdb_mutated_files_never_harm_the_parent(data, tmp_path, name):
    source, content, path = random.Random(name), (data / name).read_bytes(), tmp_path / name
    for number in range(100):
        path.write_bytes(mutate(source, content))
        dump = within_limits(Dump(path))  # which checks status and stderr
        assert dump.error == 0 or dump.message, f"mutation {number}"
