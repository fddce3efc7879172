# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports from Access files: plan, apply, import again, undo, and what a kill or a damaged file leaves."""

import csv
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from support import access, system
from support.files import MIB, make_image, make_vhd
from support.iscsi import Disk
from support.small_disk import SmallRoot, can_make
from test_docs import verbs_of_the_manual
from test_mdb import mutate

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def programs_in_path(programs, monkeypatch):
    monkeypatch.setenv("PATH", f"{programs.build / 'migrate'}:{os.environ['PATH']}")


@pytest.fixture
def data():
    return access.need_fixtures()


def expected(data, name):
    """Rows of expect.tsv, backslashes as they are."""
    path = data / f"{name}.truth" / "expect.tsv"
    with open(path, encoding="utf-8", newline="") if path.exists() else gzip.open(f"{path}.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def clients(root):
    return {row["mac"]: row for row in root.json("client", "list")["clients"]}


def state(root):
    """Everything that an import may touch: the catalog without its audit, and the files of images."""
    files = sorted(str(p.relative_to(root.path)) for p in (root.path / "images").rglob("*"))
    return root.catalog_text(), files


def configuration(root):
    return root.ok("dump", "--secrets")


def plan(root, *args, status=0):
    done = root.run("--json", "migrate", *args)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def by_mac(report):
    return {row["mac"]: row for row in report["rows"] if row["mac"]}


def site(root):
    """Files for the paths of most fixtures."""
    folder = root.files / "Old Images"
    folder.mkdir()
    make_image(folder / "WIN10.img", 4 * MIB, seed=1)
    make_image(root.files / "x.raw", 3 * MIB, seed=2)
    make_vhd(root.files / "x.raw", folder / "win7_office.vhd")
    for name in ("win11 (test).vhdx", "win10_ltsc.vhdx"):
        make_image(root.files / "y.raw", 2 * MIB, seed=len(name))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vhdx", str(root.files / "y.raw"), str(folder / name)], check=True, timeout=60)
        (folder / name).chmod(0o644)
    return folder


def site_options(folder):
    return ["--map-path", rf"d:\IMAGES={folder}", "--map-path", rf"E:\CCBoot Images\={folder}", "--map-path", rf"\\nas01\ccboot\images={folder}"]


# --- the way from clients.mdb to a client's disk ------------------------------------------------------------------------


def test_site_is_taken_over_from_the_database_to_a_disk_over_iscsi(root, data):
    folder = site(root)
    report = plan(root, "ccboot", data / "s01_basic_2000.mdb", *site_options(folder))
    assert report["counts"]["imported"] == report["counts"]["rows"] == 32 and report["counts"]["without_an_image"] == 0
    assert [i["result"] for i in report["images"]] == ["added"] * 4
    have = clients(root)
    rows = expected(data, "s01_basic_2000.mdb")
    assert sorted(have) == sorted(row["mac_norm"] for row in rows)
    for row in rows:
        client = have[row["mac_norm"]]
        assert (client["ip"] or "") == row["ip"].replace("\\N", "")
        assert client["name"] == row["name"] or row["name"] in ("", "\\N")
    root.ok("up")
    win10 = next(row for row in rows if row["image_norm"] == r"D:\\Images\\win10.img" and row["name"].startswith("PC"))
    ltsc = next(row for row in rows if "ltsc" in row["image_norm"])
    disk = Disk(root.target(have[win10["mac_norm"]]["name"]), root.files)
    disk.copy(root.files / "copy.raw")
    assert (root.files / "copy.raw").read_bytes() == (folder / "WIN10.img").read_bytes()
    Disk(root.target(have[ltsc["mac_norm"]]["name"]), root.files).copy(root.files / "copy.raw")
    subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "vhdx", str(root.files / "copy.raw"), str(folder / "win10_ltsc.vhdx")], check=True, timeout=60)


def test_import_while_running_opens_the_new_targets(root, data):
    folder = site(root)
    root.ok("up")
    root.ok("migrate", "ccboot", data / "s12_password_2000.mdb", *site_options(folder))
    off = {client["name"] for client in clients(root).values() if client["is_disabled"]}
    targets = root.targets()
    assert len(targets) == 12 and 0 < len(off) < 12
    assert {row["client"] for row in targets if row["state"] != "open"} == off


def test_fields_of_a_client_are_taken_over(root, data):
    root.ok("migrate", "ccboot", data / "s01_basic_2000.mdb")
    first = root.json("client", "show", "PC001")
    shown = {key: first[key] for key in ("mac", "ip", "netmask", "gateway", "group", "comment")}
    assert shown == {
        "mac": "1c:1b:0d:65:64:f9",
        "ip": "192.168.1.10",
        "netmask": "255.255.255.0",
        "gateway": "192.168.1.1",
        "group": "Default",
        "comment": "row 0, seat A0",
    }
    settings = {row["key"]: row["value"] for row in root.json("set")["settings"]}
    assert settings["boot.dhcp_router"] == "192.168.1.1"
    report = json.loads((root.path / "imports" / "1.json").read_text())
    assert "WriteBackPath" in report["without_a_place"] and report["rows"][0]["rest"]["WriteBackPath"] == r"G:\WriteBack\PC001"


def test_options_of_the_site_without_a_place_are_shown_with_their_values(root, data):
    page = root.ok("migrate", "ccboot", data / "s01_basic_2000.mdb", "-n")
    assert "option 67 = gpxe.pxe" in page and "options " in page and "image_sizes" in page


def test_id_of_no_image_is_told_as_such(root, data):
    """Disk 9 of s03 is in no row of its table of images."""
    report = plan(root, "ccboot", data / "s03_fk_2010.accdb", "-n")
    note = next(image["note"] for image in report["images"] if image["source_path"] == "9")
    assert "not in the table of images" in note


def test_lock_file_beside_the_database_is_told(root, data):
    shutil.copy(data / "s12_password_2000.mdb", root.files / "clients.mdb")
    (root.files / "clients.ldb").touch()
    report = plan(root, "ccboot", root.files / "clients.mdb", "-n")
    assert any("'clients.ldb'" in note["text"] and "stopped" in note["text"] for note in report["notes"])


def test_several_images_become_menu_entries_and_data_disks(root, data):
    folder = site(root)
    make_image(folder / "gamedisk.img", 2 * MIB, seed=9)
    options = [*site_options(folder), "--map-path", rf"F:\Games={folder}"]
    root.ok("migrate", "ccboot", data / "s14_multiimage_2007.accdb", *options)
    found = {row["slot"]: row["image"] for row in root.json("client", "show", "G03")["links"]}
    assert found == {0: "WIN10", 16: "win11-test", 1: "gamedisk"}
    kinds = {row["name"]: row["kind"] for row in root.json("image", "list")["images"]}
    assert kinds["gamedisk"] == "data" and kinds["WIN10"] == "boot"


def test_names_of_other_alphabets_become_usable_and_stay_readable(root, data):
    root.ok("migrate", "ccboot", data / "s02_zh_2003.mdb")
    rows = {row["mac_norm"]: row for row in expected(data, "s02_zh_2003.mdb")}
    have = clients(root)
    assert sorted(have) == sorted(rows)
    assert len({client["name"].lower() for client in have.values()}) == len(have)
    unnamed = [mac for mac, client in have.items() if client["name"].startswith("pc-")]
    assert all(have[mac]["name"] == "pc-" + mac.replace(":", "")[6:] for mac in unnamed)


# --- the plan changes nothing --------------------------------------------------------------------------------------------


def test_dry_run_shows_the_plan_and_changes_nothing(root, data):
    folder = site(root)
    before = state(root)
    report = plan(root, "ccboot", data / "s01_basic_2000.mdb", *site_options(folder), "-n")
    assert report["import"]["is_dry_run"] and report["counts"]["imported"] == 32 and len(report["rows"]) == 32
    text = root.ok("migrate", "ccboot", data / "s01_basic_2000.mdb", *site_options(folder), "--dry-run")
    assert "32 new" in text and "to be made in the root" in text
    assert state(root) == before and not (root.path / "imports").exists()


NO_CLIENTS = {"s06_types_2003.mdb", "s09_unrelated_2000.mdb", "s15_linked_2000.mdb", "s17_memo_2003.mdb"}


def one_spelling(path):
    return path.strip(' "').replace("/", "\\").lower()


def check_fate(row, found, is_clean):
    """@row of the truth, @found in the report."""
    assert found["source_name"] == row["name"] or not row["name"].strip("\\N ")
    if row["mac_status"] != "ok":
        assert found["mac"] is None and found["result"] == ("skipped" if row["mac_status"] == "empty" else "conflict")
        return
    assert found["mac"] == row["mac_norm"]
    assert found["result"] == "imported" or not is_clean
    if is_clean:
        is_taken = "without a fixed address" in (found["reason"] or "")
        assert is_taken or found["values"].get("ip", "") == row["ip"].replace("\\N", "")
    if set(row["image_kind"].split(";")) <= {"abs", "unc"}:
        wanted = row["image_norm"].replace("\\\\", "\\")
        assert one_spelling(";".join(image["source_path"] for image in found["images"])) == one_spelling(wanted)


@pytest.mark.parametrize("name", [n for n in access.fixture_names() if n not in NO_CLIENTS])
def test_every_row_has_one_fate_and_nothing_is_imported_under_a_wrong_mac(root, data, name):
    rows, is_clean = expected(data, name), "s11" not in name
    report = plan(root, "ccboot", data / name, "-n", status=0 if is_clean else 1)
    counts = report["counts"]
    fates = ("imported", "changed", "unchanged", "kept-local", "conflict", "skipped")
    assert sum(counts[fate] for fate in fates) == counts["rows"] == len(report["rows"]) == len(rows)
    assert sorted(row["row"] for row in report["rows"]) == list(range(1, len(rows) + 1))
    good = {row["mac_norm"] for row in rows if row["mac_status"] == "ok"}
    assert {row["mac"] for row in report["rows"] if row["result"] == "imported"} <= good
    by_key = {row["source_id"]: row for row in report["rows"]}
    for row in rows:
        check_fate(row, by_key[row["source_pk"]], is_clean)


@pytest.mark.parametrize("name", sorted(NO_CLIENTS))
def test_file_without_a_list_of_clients_is_refused_with_what_is_in_it(root, data, name):
    sentence = root.fails("migrate", "ccboot", data / name)
    assert name in sentence and ("clients_be.mdb" in sentence or "s15" not in name)


def test_mapping_by_hand_reads_what_is_not_recognised(root, data):
    """MACs of six bytes in a table without names and images, found out as far as it goes, corrected and given back."""
    saved = root.files / "mapping"
    root.fails("migrate", "ccboot", data / "s06_types_2003.mdb", "--save-mapping", saved)
    saved.write_text(saved.read_text().replace("comment = fMemo", "comment = fText"))
    report = plan(root, "ccboot", data / "s06_types_2003.mdb", "--mapping", saved, "--skip-conflicts")
    good = {row["mac_norm"] for row in expected(data, "s06_types_2003.mdb") if row["mac_status"] == "ok"}
    assert set(clients(root)) == good and report["counts"]["imported"] == len(good)


# --- conflicts -----------------------------------------------------------------------------------------------------------


def test_conflicts_stop_everything_unless_they_are_skipped(root, data):
    before = state(root)
    done = root.run("migrate", "ccboot", data / "s11_conflicts_2003.mdb")
    assert done.returncode == 1 and "--skip-conflicts" in done.stderr and "duplicate MAC" in done.stdout
    assert state(root) == before
    report = plan(root, "ccboot", data / "s11_conflicts_2003.mdb", "--skip-conflicts")
    rows = expected(data, "s11_conflicts_2003.mdb")
    macs = [row["mac_norm"] for row in rows if row["mac_status"] == "ok"]
    same_name = {row["mac_norm"] for row in rows if row["name"] == "SAME-NAME"}
    single = {mac for mac in macs if macs.count(mac) == 1} - same_name
    assert set(clients(root)) == single == {row["mac"] for row in report["rows"] if row["result"] == "imported"}
    found = {row["source_id"]: row["reason"] for row in report["rows"] if row["result"] == "conflict"}
    assert "duplicate MAC: rows 11, 21, 22" in found["11"] and "duplicate name" in found["39"] and "bad MAC" in found["9"]


def test_addresses_that_are_none_are_left_out(root, data):
    root.ok("migrate", "ccboot", data / "s11_conflicts_2003.mdb", "--skip-conflicts")
    have = clients(root)
    assert have["2c:f0:5d:e6:c4:c6"]["ip"] in ("", None) and have["b4:2e:99:49:c1:c2"]["ip"] in ("", None)


# --- again ---------------------------------------------------------------------------------------------------------------


def test_import_again_changes_nothing(root, data):
    folder = site(root)
    root.ok("migrate", "ccboot", data / "s01_basic_2000.mdb", *site_options(folder))
    before, files = configuration(root), state(root)[1]
    report = plan(root, "ccboot", data / "s01_basic_2000.mdb", *site_options(folder))
    assert report["counts"]["unchanged"] == report["counts"]["rows"] == 32
    assert (configuration(root), state(root)[1]) == (before, files)


def test_next_days_copy_updates_what_changed(root, data):
    root.ok("migrate", "ccboot", data / "s18_reimport_day1.mdb")
    truth = json.loads((data / "s18_reimport.expected.json").read_text())
    report = plan(root, "ccboot", data / "s18_reimport_day2.mdb")
    rows = by_mac(report)
    assert sorted(mac for mac, row in rows.items() if row["result"] == "imported") == sorted(truth["only_in_second"])
    assert sorted(row["mac"] for row in report["gone"]) == sorted(truth["only_in_first"])
    changed = {mac: sorted({field["field"] for field in row["fields"]} - {"links"}) for mac, row in rows.items() if row["result"] == "changed"}
    words = {"image_norm": "images", "name": "name"}
    assert changed == {mac: sorted(words[field] for field in fields) for mac, fields in truth["changed"].items()}
    assert report["counts"]["unchanged"] == truth["unchanged"] and report["counts"]["gone"] == 6
    have = clients(root)
    assert set(truth["only_in_first"]) <= set(have), "clients that are gone from the source are not deleted"
    for row in expected(data, "s18_reimport_day2.mdb"):
        assert have[row["mac_norm"]]["name"] == row["name"]
    again = plan(root, "ccboot", data / "s18_reimport_day2.mdb")
    assert again["counts"]["unchanged"] == 62 and not again["gone"]


def test_what_was_edited_here_is_never_overridden(root, data):
    root.ok("migrate", "ccboot", data / "s18_reimport_day1.mdb")
    edited, untouched = "1c:1b:0d:6b:ed:88", "bc:5f:f4:c5:40:31"  # the first gets another name in the source, the second does not
    names = {mac: client["name"] for mac, client in clients(root).items()}
    root.ok("client", "rename", names[edited], "ours")
    root.ok("client", "set", names[untouched], "--group", "vip")
    root.ok("client", "remove", names["a8:a1:59:5a:7e:a4"])
    report = plan(root, "ccboot", data / "s18_reimport_day2.mdb")
    rows = by_mac(report)
    have = clients(root)
    assert have[edited]["name"] == "ours" and rows[edited]["result"] == "kept-local"
    told = next(field for field in rows[edited]["fields"] if field["field"] == "name")
    assert told == {"field": "name", "here": "ours", "source": "PC026-NEW"}
    assert have[untouched]["group"] == "vip"
    assert "a8:a1:59:5a:7e:a4" not in have and "removed here" in rows["a8:a1:59:5a:7e:a4"]["reason"]


# --- undo ----------------------------------------------------------------------------------------------------------------


def test_log_has_one_entry_and_undo_takes_all_of_it_back(root, data):
    folder = site(root)
    before = (configuration(root), state(root)[1])
    root.ok("migrate", "ccboot", data / "s01_basic_2000.mdb", *site_options(folder))
    log = root.json("log")["log"]
    assert [row["verb"] for row in log if row["verb"].startswith("import")] == ["import"]
    assert not [row for row in log if row["verb"] in ("client add", "image add", "client link")]
    root.ok("migrate", "undo", "1")
    assert (configuration(root), state(root)[1]) == before
    assert (folder / "WIN10.img").exists() and root.json("log")["log"][-1]["verb"] == "import undo"
    assert "already" in root.fails("migrate", "undo", "1")


def test_undo_of_the_second_import_leaves_the_first(root, data):
    root.ok("migrate", "ccboot", data / "s18_reimport_day1.mdb")
    before = configuration(root)
    root.ok("migrate", "ccboot", data / "s18_reimport_day2.mdb")
    assert configuration(root) != before
    assert "import 2" in root.fails("migrate", "undo", "1")
    root.ok("migrate", "undo", "2")
    assert configuration(root) == before
    report = plan(root, "ccboot", data / "s18_reimport_day2.mdb")
    assert (report["counts"]["imported"], report["counts"]["changed"], report["counts"]["unchanged"]) == (8, 10, 44)


def test_undo_says_what_depends_on_the_import(root, data):
    folder = site(root)
    root.ok("migrate", "ccboot", data / "s01_basic_2000.mdb", *site_options(folder))
    root.ok("client", "add", "mine", "--mac", "52:54:00:00:00:01", "--image", "WIN10")
    root.ok("client", "set", "PC002", "--group", "vip")
    root.ok("client", "set", "PC003", "--mode", "kept")
    before = state(root)
    done = root.run("migrate", "undo", "1")
    assert done.returncode == 1
    assert "'WIN10' is linked to client 'mine'" in done.stderr and "'PC002' was edited here" in done.stderr and "'PC003' keeps" in done.stderr
    assert state(root) == before


def test_undo_refuses_what_is_no_import(root):
    for word in ("x", "0", "-1", "7"):
        assert "import" in root.fails("migrate", "undo", "--", word)


# --- whatever happens, old or new ----------------------------------------------------------------------------------------


def opened(pid, path):
    """True when the process has the file open."""
    folder = f"/proc/{pid}/fd"
    links = []
    for fd in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{fd}"))
        except FileNotFoundError:  # closed meanwhile
            continue
    return str(path) in links


def test_file_that_changes_behind_our_back_is_not_imported(root, data):
    """While the mapping waits to be taken the file is written to, and gets its old length and time back."""
    path, fifo = root.files / "clients.mdb", root.files / "mapping"
    shutil.copy(data / "s01_basic_2000.mdb", path)
    os.mkfifo(fifo)
    before, was = state(root), path.stat()
    command = [str(root.programs.build / "migrate" / "diskgate-migrate"), "--root", str(root.path), "ccboot", str(path), "--save-mapping", str(fifo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 60
            while not opened(process.pid, path):
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.01)
            with open(path, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"x")
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
            assert "mac = " in fifo.read_text()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert f"'{path}' was changed while it was read: close Access and CCBoot, or import a copy of it" in errors
    assert state(root) == before


def test_damaged_files_leave_the_catalog_as_it_is(root, data):
    root.ok("client", "add", "mine", "--mac", "52:54:00:00:00:01")
    before = state(root)
    readable = {"c01_memo_selfloop.mdb", "c04_lvprop_cycle.mdb"}  # all client rows of these are there
    for path in sorted((data / "bad").glob("*.mdb")):
        if path.name in readable:
            continue
        done = root.run("migrate", "ccboot", path)
        assert done.returncode == 1 and done.stderr.startswith("diskgate"), (path, done.stdout, done.stderr)
        assert state(root) == before, path


MUTATIONS = int(os.environ.get("DISKGATE_MUTATIONS", 300))


@pytest.mark.timeout(400 + MUTATIONS)
def test_mutated_files_are_imported_whole_or_not_at_all(root, data):
    """The reader alone gets thousands in tests/unit/test-mdb-mutate.c; here the whole import, every second one with what is doubtful.
    DISKGATE_MUTATIONS: more of them."""
    root.ok("client", "add", "mine", "--mac", "52:54:00:00:00:01")
    catalog, before, source = root.path / "catalog.db", state(root), random.Random(11)
    untouched = catalog.read_bytes()
    seeds = [(data / name).read_bytes() for name in ("s01_basic_2000.mdb", "s03_fk_2010.accdb", "s04_jet3_gbk.mdb", "s14_multiimage_2007.accdb")]
    for number in range(MUTATIONS):
        (root.files / "damaged.mdb").write_bytes(mutate(source, seeds[number % 4]))
        done = root.run("migrate", "ccboot", root.files / "damaged.mdb", *(["--accept-doubts"] if number // 4 % 2 else []))
        assert done.returncode in (0, 1), f"mutation {number}: {done.returncode} {done.stderr}"
        if done.returncode == 1:
            assert done.stderr.startswith("diskgate-migrate: ") and state(root) == before, f"mutation {number}: {done.stderr}"
            continue
        now = clients(root)
        assert now["52:54:00:00:00:01"]["name"] == "mine" and len(now) - 1 <= 57, f"mutation {number}"
        for folder in ("imports", "images"):
            shutil.rmtree(root.path / folder)
        (root.path / "images").mkdir(mode=0o755)
        for left in root.path.glob("catalog.db-*"):
            left.unlink()
        catalog.write_bytes(untouched)
    assert state(root) == before


@pytest.mark.timeout(600)
def test_kill_leaves_the_old_or_the_new_state(root, data):
    folder = site(root)
    command = root.command("migrate", "ccboot", data / "s07_5000_2003.mdb", *site_options(folder), "-q")
    empty = state(root)
    started = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=300)
    whole_s = time.monotonic() - started
    root.ok("migrate", "undo", "1")
    dice, seen = random.Random(5), set()
    pending = root.path / "imports" / "pending"
    for round_number in range(5):
        before = len(clients(root))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if round_number:
            time.sleep(whole_s * (dice.random() * 0.9 + 0.1))
        else:  # as soon as there is something to clean up; later ones may be over before
            while not pending.exists() and process.poll() is None:
                time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        system.wait_until(lambda: not pending.exists(), what="the helper that cleans up")
        now = clients(root)
        assert len(now) in (before, 4980), f"round {round_number}: {len(now)} clients"
        files = sorted(p.parent.name for p in (root.path / "images").rglob("v1.raw*"))
        assert files == (["win10_ltsc", "win11-test"] if now else []), f"round {round_number}"
        assert sorted(p.name for p in (root.path / "images").iterdir()) == files
        seen.add(bool(now))
        if now:
            runs = [row["object"] for row in root.json("log")["log"] if row["verb"] == "import"]
            root.ok("migrate", "undo", runs[-1].split()[1])
    assert state(root)[1] == empty[1]
    assert False in seen


@pytest.fixture
def small_root(programs, request):
    if not can_make("ext4"):
        pytest.skip("mkfs.ext4 is not installed")
    root = SmallRoot(programs, request.node.get_closest_marker("timeout").args[0] - 15)
    yield root.init()
    faults = root.close()
    assert not faults, "left behind:\n" + "\n".join(faults)


def test_full_disk_stops_an_import_and_leaves_nothing(small_root):
    root = small_root
    for name, size in (("large", 12), ("one", 6), ("two", 6)):
        raw = make_image(root.files / f"{name}.raw", size * MIB, seed=size)
        subprocess.run(["qemu-img", "convert", "-O", "vhdx", str(raw), str(root.files / f"{name}.vhdx")], check=True, timeout=60)
    root.fill()
    os.truncate(root.ballast, root.ballast.stat().st_size - 8 * MIB)
    before = state(root)

    def refused(*names):
        table = root.files / "clients.csv"
        table.write_text("PC,MAC,Image\n" + "".join(f"pc{i},00-1B-21-00-00-{i:02},D:\\{n}.vhdx\n" for i, n in enumerate(names, 1)))
        done = root.run("migrate", "csv", table, "--search", root.files, "-q")
        assert done.returncode == 1 and state(root) == before and not (root.path / "imports" / "pending").exists(), done.stderr
        return done.stderr

    assert "free" in refused("large").splitlines()[-1]
    assert "two" in refused("one", "two")  # each has room alone
    root.make_room()
    root.ok("migrate", "csv", root.files / "clients.csv", "--search", root.files)
    assert len(clients(root)) == 2 and len(root.json("image", "list")["images"]) == 2


# --- the manual ----------------------------------------------------------------------------------------------------------


def test_manual_has_the_verbs_and_options_of_the_program(programs, repository):
    table = subprocess.run([str(programs.build / "migrate" / "diskgate-migrate"), "--list-verbs"], check=True, capture_output=True, text=True, timeout=30)
    real = {}
    for line in table.stdout.splitlines():
        verb, arguments, options = line.split("\t")
        real[verb] = ([arguments], {option.rstrip("=") for option in options.split()})
    assert verbs_of_the_manual((repository / "docs" / "man" / "diskgate-migrate.8").read_text()) == real
