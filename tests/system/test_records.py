# SPDX-License-Identifier: GPL-2.0-or-later
"""From Access files to client records: every fixture against its ground truth, row by row, by the mapping that is found without help."""

import errno
import gzip
import json
import subprocess

import pytest
from support import access

pytestmark = pytest.mark.timeout(120)

GOOD, LOCAL, EMPTY, BAD_FORM, ZERO, BROADCAST, MULTICAST = range(7)  # enum mac_status
MAC_STATUS = {"ok": (GOOD, LOCAL), "empty": (EMPTY,), "unparsed": (BAD_FORM,), "zero": (ZERO,), "broadcast": (BROADCAST,), "multicast": (MULTICAST,)}
# enum path_kind
KIND = {"abs": 0, "unc": 1, "rooted": 2, "drive_relative": 3, "relative": 4, "abs_dots": 5, "unc_broken": 7, "dangling_id": 7}

RECOGNISED = ["s01_basic_2000.mdb", "s02_zh_2003.mdb", "s03_fk_2010.accdb", "s04_jet3_gbk.mdb", "s05_jet3_latin.mdb", "s07_5000_2003.mdb"]
RECOGNISED += ["s08_empty_2000.mdb", "s10_ambiguous_2003.mdb", "s11_conflicts_2003.mdb", "s12_password_2000.mdb", "s13_encoded_2000.mdb"]
RECOGNISED += ["s14_multiimage_2007.accdb", "s16_deleted_overflow_2003.mdb", "s18_reimport_day1.mdb", "s18_reimport_day2.mdb"]
RECOGNISED += ["s20_surrogates_2003.mdb"]
REFUSED = ["s06_types_2003.mdb", "s09_unrelated_2000.mdb", "s15_linked_2000.mdb", "s17_memo_2003.mdb"]


@pytest.fixture
def data():
    return access.need_fixtures()


def dump(kind, path, *mapping):
    program = access.build_folder() / "tests" / "system" / "helpers" / "records-dump"
    assert program.exists(), f"'{program}' is not built; run meson compile, or set DISKGATE_BUILD"
    done = subprocess.run([program, kind, path, *mapping], capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.decode()


def read(kind, path, *mapping):
    """(detect, records by row, site)"""
    detect, records, site, end = None, [], None, None
    for line in dump(kind, path, *mapping).splitlines():
        o = json.loads(line)
        if "record" in o:
            assert o["record"] == len(records) and o["rest"] is not None
            records.append(o)
        elif "site" in o:
            site = o["site"]
        elif "end" in o:
            end = o
        else:
            detect = o
    assert not end or (end["end"] == 0 and end["rows"] == len(records)), end
    return detect, records, site


def expected(path):
    """Rows of expect.tsv as dicts of text, None for NULL."""
    folder = access.Truth(path).folder
    packed = folder / "expect.tsv.gz"
    text = (gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / "expect.tsv").read_bytes()).decode()
    lines = [line.split("\t") for line in text.rstrip("\n").split("\n")]
    return [dict(zip(lines[0], map(access._unescape, line))) for line in lines[1:]]


def check_images(record, row):
    kinds = [kind for kind in row["image_kind"].split(";") if kind != "null"]
    images = record["images"]
    assert [image["kind"] for image in images] == [KIND[kind] for kind in kinds]
    if kinds and kinds[0] not in ("dangling_id", "unc_broken"):
        assert ";".join(image["path"] for image in images) == row["image_norm"].replace("\\", "/")
    else:
        assert all(not image["path"] for image in images)  # no path is invented


def check(record, row):
    status = row["mac_status"]
    assert record["mac"] == (row["mac_norm"] if status == "ok" else "")
    assert record["mac_status"] in MAC_STATUS[status]
    assert record["raw_mac"].strip() == (row["mac_raw"] or "").strip()
    assert record["raw_name"] == (row["name"] or "").strip()
    if record["ip"] != (row["ip"] or ""):  # what is no address is not taken, and said
        assert not record["ip"] and row["ip"] in record["doubt"]
    check_images(record, row)


@pytest.mark.parametrize("name", RECOGNISED)
def test_records_of_a_fixture_are_what_was_written(data, name):
    detect, records, _ = read("access", data / name)
    rows = expected(data / name)
    assert detect["detect"] == 0, detect
    assert len(records) == len(rows)
    by_id = {record["id"]: record for record in records}
    assert len(by_id) == len(rows)
    for row in rows:
        check(by_id[row["source_pk"]], row)


@pytest.mark.parametrize("name", REFUSED)
def test_records_of_a_fixture_without_clients_are_refused(data, name):
    detect, records, _ = read("access", data / name)
    assert detect["detect"] in (errno.ENODATA, errno.ENOTUNIQ) and not records
    if name.startswith("s15"):
        assert "C:\\CCBoot\\Data\\clients_be.mdb" in detect["message"]


def test_records_binary_macs_by_a_mapping(data, tmp_path):
    mapping = tmp_path / "mapping.ini"
    mapping.write_text("[clients]\ntable = AllTypes\nkey = ID\nmac = fMacBin\n")
    _, records, _ = read("access", data / "s06_types_2003.mdb", mapping)
    got = {record["id"]: (record["mac"], record["mac_status"]) for record in records}
    for row in expected(data / "s06_types_2003.mdb"):
        mac, status = got[row["source_pk"]]
        assert mac == (row["mac_norm"] if row["mac_status"] == "ok" else "") and status in MAC_STATUS[row["mac_status"]]


@pytest.mark.parametrize("name", RECOGNISED + REFUSED)
def test_records_a_saved_mapping_gives_the_same(data, tmp_path, name):
    mapping = tmp_path / "mapping.ini"
    mapping.write_text(dump("access", data / name, "-"))
    detect, records, site = read("access", data / name)
    if detect["detect"] == 0:
        assert read("access", data / name, mapping) == (detect, records, site)


def test_records_site_options(data):
    _, _, site = read("access", data / "s01_basic_2000.mdb")
    assert site == {"netmask": "255.255.255.0", "gateway": "192.168.1.1", "dns": "8.8.8.8,114.114.114.114"}


def test_records_of_a_table_as_csv_are_the_same(data, tmp_path):
    """Paths that must agree: the client table of a fixture, written as CSV, gives the same clients."""
    for name, table in [("s01_basic_2000.mdb", "Clients"), ("s02_zh_2003.mdb", "客户机"), ("s11_conflicts_2003.mdb", "Clients")]:
        path = tmp_path / "clients.csv"
        _, columns, rows = next(t for t in access.Truth(data / name).tables if t[0] == table)
        lines = [[column for column, _ in columns]] + [["" if value is None else value for value in row] for row in rows]
        path.write_text("".join(";".join('"' + v.replace('"', '""') + '"' for v in line) + "\r\n" for line in lines), newline="")
        _, from_access, _ = read("access", data / name)
        detect, from_csv, _ = read("csv", path)
        assert detect["detect"] == 0, detect

        def clients(records):
            return sorted((r["id"], r["mac"], r["mac_status"], r["name"], r["ip"], r["netmask"], r["is_disabled"], str([i["path"] for i in r["images"]])) for r in records)

        assert clients(from_csv) == clients(from_access)
