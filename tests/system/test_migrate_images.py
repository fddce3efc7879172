# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports from text, and how paths of the old server become images: rules, search, chains, what is refused, what is proposed."""

import json
import os
import subprocess

import pytest
from support import access, boot, iscsi, vhd
from support.files import MIB, make_image, make_vhd
from test_mdb import REFUSED

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def programs_in_path(programs, monkeypatch):
    monkeypatch.setenv("PATH", f"{programs.build / 'migrate'}:{os.environ['PATH']}")


HEAD = "Computer;MAC;IP;Image;Comment\n"


def table(root, *rows, name="clients.csv", head=HEAD, encoding="utf-8"):
    """A CSV file; rows are (name, image), or whole lines."""
    path = root.files / name
    lines = [
        row if isinstance(row, str) else f"{row[0]};52-54-00-00-01-{number:02X};10.0.0.{number};{row[1]};"
        for number, row in enumerate(rows, 1)
    ]
    path.write_bytes((head + "".join(f"{line}\n" for line in lines)).encode(encoding))
    return path


def run(root, path, *options, status=0):
    done = root.run("--json", "migrate", "csv", path, *options)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def images(report):
    return {row["source_path"]: row for row in report["images"]}


def links(root, client):
    return {row["slot"]: row["image"] for row in root.json("client", "show", client)["links"]}


def clients_comment(root):
    return [row["comment"] for row in root.json("client", "list")["clients"]]


def folder(root, name, *files, seed=1):
    path = root.files / name
    path.mkdir(parents=True)
    for number, file in enumerate(files):
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        make_image(path / file, 1 * MIB, seed=seed + number)
    return path


# --- paths ---------------------------------------------------------------------------------------------------------------


def test_longest_rule_wins_whatever_the_case_and_the_slashes(root):
    wide, narrow = folder(root, "wide", "a.img", "Sub/b.img"), folder(root, "narrow", "B.IMG", seed=7)
    path = table(root, ("p1", r"D:\Images\a.img"), ("p2", r"d:/images/SUB/b.img"), ("p3", r"D:\\Images\\sub\\B.img"))
    report = run(root, path, "--map-path", rf"D:\Images\Sub={narrow}", "--map-path", rf"d:\images\={wide}")
    found = {row["file"] for row in report["images"]}
    assert found == {str(wide / "a.img"), str(narrow / "B.IMG")}
    assert links(root, "p2") == links(root, "p3") == {0: "B"} and links(root, "p1") == {0: "a"}


def test_rule_fits_whole_folders_only(root):
    here = folder(root, "here", "a.img")
    report = run(root, table(root, ("p1", r"D:\Images2\a.img")), "--map-path", rf"D:\Images={here}", "-n")
    assert report["images"][0]["result"] == "missing"


def test_unc_paths_and_drives_are_mapped(root):
    nas, drive = folder(root, "nas", "x.img"), folder(root, "drive", "deep/y.img", seed=5)
    path = table(root, ("p1", r"\\NAS01\ccboot\x.img"), ("p2", r"E:\deep\y.img"))
    report = run(root, path, "--map-path", rf"\\nas01\CCBoot={nas}", "--map-path", f"E:={drive}")
    assert [row["result"] for row in report["images"]] == ["added", "added"]


def test_path_with_dots_leaves_its_folder_never(root):
    here = folder(root, "here", "a.img")
    make_image(root.files / "secret.img", 1 * MIB)
    path = table(root, ("p1", r"D:\Images\..\secret.img"), ("p2", r"D:\Images\a.img"))
    report = run(root, path, "--map-path", rf"D:\Images={here}", "--search", here)
    assert images(report)[r"D:\Images\..\secret.img"]["result"] == "missing" and links(root, "p1") == {}


def test_bad_rules_are_refused_with_a_sentence(root):
    path = table(root, ("p1", r"D:\a.img"))
    for rule in ("D:", "=x", rf"D:\=/{'no' * 10}", f"D:={path}"):
        sentence = root.fails("migrate", "csv", path, "--map-path", rule)
        assert rule.split("=")[0] in sentence or "=" in sentence
    assert root.json("client", "list")["clients"] == []


def test_file_that_is_called_differently_here_is_mapped_by_its_whole_path(root):
    here = folder(root, "here", "win.img", "new name.raw")
    path = table(root, ("p1", r"D:\win.img"), ("p2", r"D:\WIN.IMG"))
    found = images(run(root, path, "-n", "--map-path", f"D:={here}", "--map-path", rf"d:\Win.img={here / 'new name.raw'}"))
    assert found[r"D:\win.img"]["file"] == str(here / "new name.raw") and len(found) == 1


def test_search_finds_by_name_and_never_guesses_between_two(root):
    one, two = folder(root, "one/deep", "win.img"), folder(root, "two", "WIN.img", "other.img", seed=4)
    path = table(root, ("p1", r"D:\win.img"), ("p2", r"F:\x\other.img"))
    report = run(root, path, "--search", root.files / "one", "--search", two)
    found = images(report)
    assert found[r"F:\x\other.img"]["result"] == "added"
    asked = found[r"D:\win.img"]
    assert asked["result"] == "missing" and sorted(asked["candidates"]) == sorted([str(one / "win.img"), str(two / "WIN.img")])
    assert "--map-path" in asked["note"] and links(root, "p1") == {} and links(root, "p2") == {0: "other"}


def test_more_folders_to_search_than_are_looked_at_are_refused(root):
    folders = [option for n in range(33) for option in ("--search", folder(root, f"many/{n}"))]
    assert "more than 32 folders" in root.fails("migrate", "csv", table(root, ("p1", r"D:\a.img")), *folders)
    root.ok("migrate", "csv", table(root, ("p1", r"D:\a.img")), *folders[:64], "-n")


def test_one_file_is_not_taken_for_two_images_of_its_name(root):
    path = table(root, ("p1", r"D:\Win7\system.img"), ("p2", r"D:\Win10\SYSTEM.img"), ("p3", r"\\SRV\win10\system.img"))
    folder(root, "disks/other", "system.img")
    found = images(run(root, path, "--search", root.files / "disks", "-n"))
    assert [row["result"] for row in found.values()] == ["missing"] * 3
    note = found[r"D:\Win7\system.img"]["note"]
    assert r"another image of this name, 'D:\Win10\SYSTEM.img'" in note and rf"--map-path 'D:\Win7={root.files / 'disks/other'}'" in note
    (root.files / "disks/other").rename(root.files / "disks/WIN10")
    run(root, path, "--search", root.files / "disks")
    assert links(root, "p1") == {} and links(root, "p2") == links(root, "p3") == {0: "system"}


def test_size_that_the_source_says_decides_between_two_files_of_a_name(root):
    """s01 says 60 GB of win10.img."""
    data = access.need_fixtures()
    for name, size in (("old", 40 << 30), ("new", 60 << 30)):
        (root.files / name).mkdir()
        make_image(root.files / name / "win10.img", 1 * MIB, seed=size % 7)
        os.truncate(root.files / name / "win10.img", size)
    args = ["--json", "migrate", "ccboot", data / "s01_basic_2000.mdb", "-n", "--search", root.files]
    found = images(root.json(*args))[r"D:\Images\win10.img"]
    assert found["file"] == str(root.files / "new" / "win10.img") and "size" in found["note"]
    os.truncate(root.files / "old" / "win10.img", 60 * 10**9)
    both = images(root.json(*args))[r"D:\Images\win10.img"]
    assert both["result"] == "missing" and len(both["candidates"]) == 2
    (root.files / "new" / "win10.img").unlink()
    os.truncate(root.files / "old" / "win10.img", 2 * MIB)
    only = images(root.json(*args))[r"D:\Images\win10.img"]
    assert only["result"] == "added" and "2 MiB" in only["note"] and "60" in only["note"]


def test_missing_image_leaves_the_client_unlinked_until_it_is_found(root):
    path = table(root, ("p1", r"D:\Images\late.img"))
    report = run(root, path)
    assert report["counts"]["imported"] == 1 and report["counts"]["without_an_image"] == 1 and links(root, "p1") == {}
    late = folder(root, "late", "late.img")
    report = run(root, path, "--search", late)
    assert report["counts"]["changed"] == 1 and links(root, "p1") == {0: "late"}
    assert run(root, path, "--search", late)["counts"]["unchanged"] == 1
    assert run(root, path)["counts"]["unchanged"] == 1, "what was found once needs no rule again"


def test_proposal_names_the_folder_where_such_a_file_lies(root):
    near = folder(root, "backup of D", "win.img")
    report = run(root, table(root, ("p1", r"D:\Images\win.img")), "-n")
    note = report["images"][0]["note"]
    assert rf"--map-path 'D:\Images={near}'" in note
    report = run(root, table(root, ("p1", r"D:\Images\win.img")), "--map-path", rf"D:\Images={near}")
    assert report["images"][0]["result"] == "added"


def test_proposal_names_a_file_of_another_format(root):
    here = folder(root, "new", "Win10.img", "deep/win10.001", "two.img", "deep/two.raw")
    path = table(root, ("p1", r"D:\Images\win10.vhd"), ("p2", r"E:\two.vhdx"), ("p3", "three.vhd"))
    found = images(run(root, path, "--search", here))
    notes = {row["source_path"]: row["note"] for row in found.values()}
    rule = rf"D:\Images\win10.vhd={here / 'Win10.img'}"
    assert rf"--map-path '{rule}'" in notes[r"D:\Images\win10.vhd"] and links(root, "p1") == {}
    assert r"and others" in notes[r"E:\two.vhdx"] and r"--map-path 'E:\two.vhdx=FILE'" in notes[r"E:\two.vhdx"]
    assert "--search" in notes["three.vhd"]
    run(root, path, "--map-path", rule)
    assert links(root, "p1") == {0: "Win10"}


def test_folder_that_is_mapped_twice_is_refused(root):
    one, two = folder(root, "one", "a.img"), folder(root, "two", "a.img")
    path = table(root, ("p1", r"D:\a.img"))
    assert "is mapped twice" in root.fails("migrate", "csv", path, "--map-path", f"D:={one}", "--map-path", f"d:\\={two}")
    run(root, path, "--map-path", f"D:={one}", "--map-path", f"D:={one}", "-n")


def test_two_files_that_differ_in_case_only_are_a_question(root):
    here = folder(root, "here", "a.img", "A.IMG")
    report = run(root, table(root, ("p1", r"D:\a.Img")), "--map-path", f"D:={here}", "-n")
    assert report["images"][0]["result"] == "missing" and "upper and lower case" in report["images"][0]["note"]


def test_file_that_is_an_image_already_is_linked_and_not_added_twice(root):
    here = folder(root, "here", "a.img")
    root.ok("image", "add", "mine", here / "a.img")
    report = run(root, table(root, ("p1", r"D:\a.img")), "--map-path", f"D:={here}")
    assert report["images"][0]["result"] == "known" and links(root, "p1") == {0: "mine"}
    root.ok("migrate", "undo", "1")
    assert [row["name"] for row in root.json("image", "list")["images"]] == ["mine"]


def test_image_that_cannot_be_served_is_told_and_its_client_imported(root):
    here = folder(root, "here", "good.img")
    (here / "bad.img").write_bytes(b"PK\3\4\x14\0\0\0\x08\0" + bytes(16) + b"\x05\0" + bytes(4000))
    report = run(root, table(root, ("p1", r"D:\bad.img"), ("p2", r"D:\good.img")), "--map-path", f"D:={here}")
    bad = images(report)[r"D:\bad.img"]
    assert bad["result"] == "refused" and "zip archive" in bad["note"]
    assert links(root, "p1") == {} and links(root, "p2") == {0: "good"}


# --- chains and differences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["win.vhd.001", "win.001"])
def test_numbered_differences_are_told_with_the_way_out(root, name):
    here = folder(root, "here")
    make_image(root.files / "x.raw", 1 * MIB)
    make_vhd(root.files / "x.raw", here / "win.vhd")
    (here / name).write_bytes(b"unknown")
    path = table(root, ("p1", r"D:\win.vhd"), ("p2", rf"D:\{name}"))
    report = run(root, path, "--map-path", f"D:={here}", "-n")
    for row in report["images"]:
        assert row["result"] == "refused" and "merge" in row["note"], row
    report = run(root, path, "--map-path", f"D:={here}", "--ignore-differences")
    assert images(report)[r"D:\win.vhd"]["result"] == "added" and images(report)[rf"D:\{name}"]["result"] == "refused"


def chain(root, places, fixed=False):
    """base <- middle <- top, each in its own folder; returns (paths, the bytes of the disk)."""
    size = 5 * MIB
    raw = make_image(root.files / "base.raw", size, seed=3)
    paths = [place / name for place, name in zip(places, ("base.vhd", "middle.vhd", "top.vhd"))]
    if fixed:
        make_vhd(raw, paths[0])
    else:
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size=on", str(raw), str(paths[0])], check=True, timeout=60)
    content = bytearray(raw.read_bytes())
    parent, names = vhd.identity_of(paths[0]), [rf"D:\VHD\{path.name}" for path in paths]
    for level, path in enumerate(paths[1:], 1):
        sectors = {n: bytes([level]) * 511 + bytes([n % 251]) for n in (0, level, 7, 4095 + level, 4096, size // 512 - level)}
        parent = vhd.write_differencing(path, size, sectors, parent, names[level - 1].split("\\")[-1], names[level - 1])
        for number, value in sectors.items():
            content[number * 512 : (number + 1) * 512] = value
    for path in paths:
        path.chmod(0o644)
    return paths, bytes(content)


@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic base", "fixed base"])
def test_image_add_flattens_a_chain_that_lies_together(root, fixed):
    here = folder(root, "here")
    paths, content = chain(root, [here] * 3, fixed)
    before = [path.read_bytes() for path in paths]
    root.ok("image", "add", "win", paths[2])
    assert (root.path / "images" / "win" / "v1.raw").read_bytes() == content
    assert [path.read_bytes() for path in paths] == before


def test_import_flattens_a_chain_that_is_spread_over_folders(root):
    places = [folder(root, name) for name in ("a", "b", "c")]
    paths, content = chain(root, places)
    path = table(root, ("p1", r"D:\VHD\top.vhd"))
    alone = run(root, path, "--map-path", rf"D:\VHD={places[2]}", "-n")
    assert alone["images"][0]["result"] == "refused" and "middle.vhd" in alone["images"][0]["note"]
    (places[0] / "middle.vhd").write_bytes(paths[0].read_bytes())  # the right name, another disk
    report = run(root, path, "--map-path", rf"D:\VHD={places[2]}", "--search", places[0], "--search", places[1])
    assert report["images"][0]["result"] == "added" and report["images"][0]["parents"] == [str(paths[1]), str(paths[0])]
    assert (root.path / "images" / "top" / "v1.raw").read_bytes() == content


def test_chain_without_its_parent_or_damaged_is_refused(root):
    here = folder(root, "here")
    paths, _ = chain(root, [here] * 3)
    whole = {path: path.read_bytes() for path in paths}

    def refused(word):
        sentence = root.fails("image", "add", "win", paths[2])
        assert word in sentence, sentence
        assert not any((root.path / "images").iterdir())
        for path, content in whole.items():
            path.write_bytes(content)

    paths[1].unlink()
    refused("middle.vhd")
    paths[0].write_bytes(whole[paths[0]][: -3 * MIB] + whole[paths[0]][-512:])
    refused("damaged")
    paths[1].write_bytes(whole[paths[1]][:542] + b"\xfe" + whole[paths[1]][543:])  # in the dynamic header
    refused("middle.vhd")
    table_at = 512 + 1024 + 512
    paths[1].write_bytes(whole[paths[1]][:table_at] + b"\x7f\xff\xff\xf0" + whole[paths[1]][table_at + 4 :])
    refused("beyond")


# --- other sources -------------------------------------------------------------------------------------------------------


def test_leases_fill_in_addresses_and_never_unlink(root):
    here = folder(root, "here", "a.img")
    run(root, table(root, f"p1;52-54-00-00-01-01;;D:\\a.img;", f"p2;52-54-00-00-01-02;10.0.0.2;D:\\a.img;"), "--map-path", f"D:={here}")
    leases = root.files / "dnsmasq.leases"
    leases.write_text("1790000000 52:54:00:00:01:01 10.0.0.77 host1 *\n1790000000 52:54:00:00:01:02 10.0.0.78 p2 *\n1790000000 52:54:00:00:01:03 10.0.0.79 new *\n")
    done = root.run("--json", "migrate", "leases", leases)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    have = {row["name"]: row["ip"] for row in root.json("client", "list")["clients"]}
    assert have == {"p1": "10.0.0.77", "p2": "10.0.0.2", "new": "10.0.0.79"}
    assert links(root, "p1") == {0: "a"} and report["gone"] == []
    assert [row["result"] for row in report["rows"]] == ["changed", "kept-local", "imported"]


def test_table_without_a_column_says_nothing_about_it(root):
    here = folder(root, "here", "a.img")
    run(root, table(root, ("p1", r"D:\a.img"), ("p2", r"D:\a.img")), "--map-path", f"D:={here}")
    path = table(root, "p1;52-54-00-00-01-01", "p2b;52-54-00-00-01-02", name="short.csv", head="Computer;MAC\n")
    report = run(root, path)
    assert [row["result"] for row in report["rows"]] == ["unchanged", "changed"]
    assert links(root, "p2b") == {0: "a"}


def test_rows_that_say_the_same_twice_are_one(root):
    others = [f"p{n};52-54-00-00-01-{n:02x};10.0.0.{n};;" for n in range(2, 9)]
    report = run(root, table(root, "p1;52-54-00-00-01-01;10.0.0.1;;", "p1;525400000101;10.0.0.1;;", *others))
    assert [row["result"] for row in report["rows"]] == ["imported", "skipped"] + ["imported"] * 7
    assert "same as row 1" in report["rows"][1]["reason"]


def test_names_and_addresses_may_be_exchanged(root):
    run(root, table(root, "a;52-54-00-00-01-01;10.0.0.1;;", "b;52-54-00-00-01-02;10.0.0.2;;"))
    report = run(root, table(root, "b;52-54-00-00-01-01;10.0.0.2;;", "a;52-54-00-00-01-02;10.0.0.1;;"))
    assert report["counts"]["changed"] == 2
    assert {row["mac"][-2:]: (row["name"], row["ip"]) for row in root.json("client", "list")["clients"]} == {"01": ("b", "10.0.0.2"), "02": ("a", "10.0.0.1")}


def test_name_that_is_taken_here_gets_a_number_and_is_told(root):
    root.ok("client", "add", "PC1", "--mac", "52:54:00:00:09:09", "--ip", "10.0.0.1")
    report = run(root, table(root, ("pc1", "")))
    row = report["rows"][0]
    assert row["values"]["name"] == "pc1-2" and "'pc1' is taken" in row["reason"] and "10.0.0.1" in row["reason"]
    assert run(root, table(root, ("pc1", "")))["counts"]["unchanged"] == 1


def test_client_that_keeps_its_changes_is_not_relinked(root):
    here = folder(root, "here", "a.img", "b.img")
    rule = ("--map-path", f"D:={here}")
    run(root, table(root, ("p1", r"D:\a.img")), *rule)
    root.ok("client", "set", "p1", "--mode", "kept")
    done = root.run("migrate", "csv", table(root, ("p1", r"D:\b.img")), *rule)
    assert done.returncode == 1 and "keeps its changes" in done.stdout and links(root, "p1") == {0: "a"}


def test_running_client_is_not_relinked(root):
    here = folder(root, "here", "b.img")
    make_image(here / "a.img", 64 * MIB)
    rule = ("--map-path", f"D:={here}")
    run(root, table(root, ("p1", r"D:\a.img")), *rule)
    root.ok("up")
    with boot.session(root, iscsi.url_of(root.target("p1"))):
        done = root.run("migrate", "csv", table(root, ("p1", r"D:\b.img")), *rule)
        assert done.returncode == 1 and "it is running" in done.stdout, done.stdout + done.stderr
        assert "is running" in root.fails("migrate", "undo", "1") and links(root, "p1") == {0: "a"}


def test_question_is_asked_and_the_answer_taken(root):
    path = root.files / "two.csv"
    path.write_text("Computer,MacA,MacB\n" + "".join(f"pc{n},52540000{n:02x}01,52540000{n:02x}02\n" for n in range(1, 13)))
    saved = root.files / "answer.ini"
    done = root.run("migrate", "csv", path, "--save-mapping", saved)
    text = saved.read_text()
    if done.returncode == 0:
        pytest.fail(f"two columns of MACs were no question:\n{text}")
    assert done.returncode == 1 and str(saved) in done.stderr and root.json("client", "list")["clients"] == []
    assert "mac is still a question" in root.fails("migrate", "csv", path, "--mapping", saved)
    saved.write_text(text.replace("mac = ?", "mac = MacB"))
    root.ok("migrate", "csv", path, "--mapping", saved)
    assert {row["mac"][-2:] for row in root.json("client", "list")["clients"]} == {"02"}


def test_character_set_of_the_mapping_file_counts_and_is_saved(root):
    path, saved = table(root, "Зал;52-54-00-00-01-01;10.0.0.1;;Образ", encoding="cp866"), root.files / "saved.ini"
    root.ok("migrate", "csv", path, "--charset", "KOI8-R", "--save-mapping", saved, "-n")
    assert "\ncharset = KOI8-R\n" in saved.read_text()
    saved.write_text(saved.read_text().replace("charset = KOI8-R", "charset = CP866"))
    root.ok("migrate", "csv", path, "--mapping", saved)
    assert clients_comment(root) == ["Образ"]
    saved.write_text(saved.read_text().replace("charset = CP866", "charset = KLINGON"))
    assert "character set 'KLINGON'" in root.fails("migrate", "csv", path, "--mapping", saved)


def test_lines_that_were_not_cut_ask_for_the_separator(root):
    path = root.files / "odd.csv"
    path.write_text("Computer#MAC\n" + "".join(f"pc{n}#52-54-00-00-01-{n:02}\n" for n in range(1, 5)))
    assert "say with --separator" in root.fails("migrate", "csv", path) and "one character of ASCII" in root.fails("migrate", "csv", path, "--separator", "，")
    report = run(root, path, "--separator", "#")
    assert report["counts"]["imported"] == 4


@pytest.mark.parametrize(
    ("begin", "word", "way"),
    [
        (b"PK\x03\x04\x14\0\x06\0", "Office, such as .xlsx", "save its table as CSV"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "Office file", "save its table as CSV"),
        (b"SQLite format 3\0", "SQLite", "export its table"),
        (b"\x00\x01\x00\x00Standard Jet DB\0", "Access database", "diskgate migrate ccboot"),
        (b"vhdxfile\0\0", "VHDX disk image", "diskgate image add"),
        (b"MZ\x90\0\x03", "Windows program", "itself"),
        (b"\0" * 16, "zeros", "copy it again"),
    ],
)
def test_what_is_no_text_is_called_by_its_name(root, begin, word, way):
    path = root.files / "clients.csv"
    path.write_bytes(begin + b"\0" * 5000)
    before = root.catalog_text()
    for verb in ("csv", "leases"):
        said = root.fails("migrate", verb, path)
        assert word in said and way in said and str(path) in said
    path.write_bytes(b"MZ;mac\npc1;001b21aabb01\npc2;001b21aabb02\n")  # text may begin so, too
    assert root.catalog_text() == before and "2 rows: 2 new" in root.ok("migrate", "csv", path, "-n")


def test_file_that_cannot_be_read_is_refused_with_a_way_out(root):
    data = access.need_fixtures()
    for name in sorted(REFUSED):
        said = root.fails("migrate", "ccboot", data / "bad" / name)
        assert any(way in said for way in ("copy it again", "diskgate migrate csv", "save it in Access", "Compact and Repair")), said


def test_sentence_that_says_why_is_the_last_line_of_a_log(root, programs):
    path = table(root, "p1;broken;10.0.0.1;;", "p2;52-54-00-00-01-02;10.0.0.2;;", "p3;52-54-00-00-01-03;10.0.0.3;;")
    command = [str(programs.diskgate), "--root", str(root.path), "migrate", "csv", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    assert done.returncode == 1 and "nothing was imported: 1 row is in conflict" in done.stdout.splitlines()[-1]


def test_list_of_macs_alone_needs_a_mapping(root):
    path, saved = root.files / "macs.csv", root.files / "saved.ini"
    path.write_text("mac\n001b215a0001\n001b215a0002\n")
    said = root.fails("migrate", "csv", path, "--save-mapping", saved)
    assert "--mapping" in said and "--separator" not in said
    root.ok("migrate", "csv", path, "--mapping", saved)
    assert len(root.json("client", "list")["clients"]) == 2


def test_wrong_dialect_is_no_import_of_nothing(root):
    path = root.files / "leases"
    path.write_text("0 00:1b:21:00:00:01 10.0.0.1 pc1 *\n")
    assert "there is no dialect 'foo'; there are: dnsmasq" in root.fails("migrate", "leases", path, "--dialect", "foo")
    for dialect in ("isc", "netsh"):
        said = root.fails("migrate", "leases", path, "--dialect", dialect)
        assert f"nothing in it is of the dialect '{dialect}'; it looks like dnsmasq" in said and str(path) in said
    assert root.json("migrate", "leases", path, "--dialect", "dnsmasq")["counts"]["imported"] == 1


def test_usage_errors_have_status_2_and_missing_roots_a_sentence(root, programs):
    assert "usage:" in root.run("migrate", "csv").stderr and root.run("migrate", "csv").returncode == 2
    assert root.run("migrate", "ccbot", "x").returncode == 2
    assert "no such" in root.fails("migrate", "csv", root.files / "nothing.csv").lower()
    lost = subprocess.run([str(programs.diskgate), "--root", str(root.files / "none"), "migrate", "csv", str(table(root, ("p1", "")))], capture_output=True, text=True, timeout=30)
    assert lost.returncode == 1 and "init" in lost.stderr


# --- what the page for people says ---------------------------------------------------------------------------------------


def test_plan_tells_each_row_with_v_and_says_how_without(root):
    path = table(root, *((f"pc{n:02}", "") for n in range(1, 31)))
    short, whole = root.ok("migrate", "csv", path, "-n"), root.ok("migrate", "csv", path, "-n", "-v")
    assert "-v" in short.splitlines()[-1] and "pc30" not in short
    assert all(f"  row {n}, pc{n:02}, 52:54:00:00:01:{n:02x}" in whole for n in range(1, 31))
    root.ok("migrate", "csv", path)
    assert all(f"  row {n}, pc{n:02}" in root.ok("migrate", "csv", path, "-n", "-v").split("Unchanged")[1] for n in (1, 30))


def test_page_says_which_images_a_client_gets_and_that_its_disks_stay(root):
    options = ["--map-path", f"D:={folder(root, 'here', 'one.img', 'two.img')}"]
    root.ok("migrate", "csv", table(root, ("pc01", r"D:\one.img"), ("pc02", r"D:\one.img")), *options)
    root.ok("client", "unlink", "pc02", "--slot", "0")
    page = root.ok("migrate", "csv", table(root, ("pc01", r"D:\two.img"), ("pc02", r"D:\one.img")), *options, "-n")
    assert next(line for line in page.splitlines() if "row 1, pc01" in line).endswith("images are now 'two'")
    assert next(line for line in page.splitlines() if "row 2, pc02" in line).endswith("its disks stay as they are here: none (source: 'one')")


def test_client_whose_disks_are_kept_is_not_called_changed(root):
    options = ["--map-path", f"D:={folder(root, 'here', 'one.img', 'two.img', 'mine.img')}"]
    run(root, table(root, ("pc01", r"D:\one.img"), ("pc02", r"D:\mine.img")), *options)
    root.ok("client", "link", "pc01", "mine")
    path = table(root, ("pc01", r"D:\two.img"), ("pc02", r"D:\mine.img"))
    page = root.ok("migrate", "csv", path, *options, "-n")
    assert next(line for line in page.splitlines() if "row 1, pc01" in line).endswith("its disks stay as they are here: 'mine' (source: 'two')")
    report = run(root, path, *options)
    row = report["rows"][0]
    assert row["result"] == "kept-local" and links(root, "pc01") == {0: "mine"}
    assert {"field": "links", "here": {"0": "mine"}, "source": {"0": "two"}} in row["fields"]
    assert (report["counts"]["changed"], report["counts"]["kept-local"]) == (0, 1)
    root.ok("client", "link", "pc01", "two")
    assert run(root, path, *options)["counts"]["unchanged"] == 2


def test_disks_are_compared_slot_by_slot(root):
    """What was linked here stays, and what changed in the source comes, in one client."""
    options = ["--map-path", f"D:={folder(root, 'here', 'a.img', 'b.img', 'c.img', 'mine.img')}"]

    def rows(*images):
        return table(root, *((f"pc{n:02}", "|".join(rf"D:\{name}.img" for name in names)) for n, names in enumerate(images, 1)))

    run(root, rows("a", "a", "ab", "ab", ["mine"]), *options)
    root.ok("client", "link", "pc01", "mine", "--slot", "1")
    root.ok("client", "link", "pc02", "mine", "--slot", "1")
    root.ok("client", "link", "pc03", "mine")
    root.ok("client", "unlink", "pc04", "--slot", "16")
    report = run(root, rows("b", "a", "ac", "ab", ["mine"]), *options)
    assert links(root, "pc01") == {0: "b", 1: "mine"} and links(root, "pc02") == {0: "a", 1: "mine"}
    assert links(root, "pc03") == {0: "mine", 16: "c"} and links(root, "pc04") == {0: "a"}
    assert [row["result"] for row in report["rows"]] == ["changed", "unchanged", "changed", "kept-local", "unchanged"]
    fields = report["rows"][2]["fields"]
    assert {"field": "links", "old": {"0": "mine", "16": "b"}, "new": {"0": "mine", "16": "c"}} in fields
    assert {"field": "links", "here": {"0": "mine"}, "source": {"0": "a"}} in fields
    again = run(root, rows("b", "a", "ac", "ab", ["mine"]), *options)
    assert (again["counts"]["changed"], again["counts"]["kept-local"]) == (0, 2)
    root.ok("migrate", "undo", "2")
    assert links(root, "pc01") == {0: "a", 1: "mine"} and links(root, "pc03") == {0: "mine", 16: "b"}


def test_value_that_was_left_out_is_told_on_the_page(root):
    path = table(root, "pc01;52-54-00-00-01-01;10.0.0.300;;", ("pc02", ""), ("pc03", ""))
    page = root.ok("migrate", "csv", path, "-n")
    assert "Its IP address '10.0.0.300' cannot be read" in next(line for line in page.splitlines() if "row 1, pc01" in line)


def test_column_of_addresses_is_no_column_of_images(root):
    path = table(root, "pc01;52-54-00-00-01-01;10.0.0.300;;")  # the ending of a numbered difference
    assert images(run(root, path, "-n")) == {}


def test_text_with_two_paths_is_told_as_such_and_not_as_a_folder(root):
    path = table(root, ("pc01", r'"Z:\x.img;D:\Images\y.img"'), ("pc02", r"D:\Images\y.img"))
    note = images(run(root, path, "-n"))[r"Z:\x.img;D:\Images\y.img"]["note"]
    assert "image_separator" in note and "--map-path" not in note


def test_range_of_addresses_in_ccboot_ini_is_no_question(root):
    path = root.files / "CCBoot.ini"
    path.write_text("[DHCP]\nServerIP=10.0.0.2\nGateway=10.0.0.1\nStartIP=10.0.0.10\nEndIP=10.0.0.99\nWriteBack=D:\\WB\n[Client1]\nName=PC1\nMAC=001B21000001\n")
    report = root.json("migrate", "ccboot", path)
    client = root.json("client", "show", "PC1")
    assert report["counts"]["imported"] == 1 and client["mac"] == "00:1b:21:00:00:01" and client["ip"] is None
    settings = {row["key"]: row["value"] for row in root.json("set")["settings"]}
    assert settings["boot.dhcp_range"] == "10.0.0.10-10.0.0.99" and settings["boot.dhcp_router"] == "10.0.0.1"


def test_sections_of_the_server_do_not_name_the_clients_of_ccboot_ini(root):
    path = root.files / "CCBoot.ini"
    path.write_text("[Server]\nBootFile=gpxe.pxe\nServerIP=10.0.0.2\n" + "".join(f"[PC{n}]\nMAC=001B2100000{n}\nIP=10.0.0.{n + 20}\n" for n in (1, 2)))
    report = root.json("migrate", "ccboot", path)
    assert {row["name"] for row in root.json("client", "list")["clients"]} == {"PC1", "PC2"} and report["counts"]["rows"] == 2
    assert "gpxe.pxe" in report["site"]["rest"].values()


def test_settings_of_ccboot_ini_are_found_among_any_number_of_clients(root):
    path = root.files / "CCBoot.ini"
    clients = "".join(f"[PC{n:03}]\nMAC=001B21000{n:03X}\nIP=10.0.1.{n % 250 + 1}\n" + "".join(f"Key{k}={n}\n" for k in range(10)) for n in range(200))
    path.write_text("[DHCP]\nStartIP=10.0.0.10\nEndIP=10.0.0.99\n" + clients)
    report = root.json("migrate", "ccboot", path, "-n")
    assert report["counts"]["imported"] == 200 and report["site"]["settings"]["boot.dhcp_range"] == "10.0.0.10-10.0.0.99"


def test_settings_of_ccboot_ini_are_taken_without_any_client(root):
    path = root.files / "CCBoot.ini"
    path.write_text("[DHCP]\nServerIP=10.0.0.2\nGateway=10.0.0.1\nStartIP=10.0.0.10\nEndIP=10.0.0.99\nWriteBack=D:\\WB\n")
    page = root.ok("migrate", "ccboot", path)
    settings = {row["key"]: row["value"] for row in root.json("set")["settings"]}
    assert settings["boot.dhcp_range"] == "10.0.0.10-10.0.0.99" and "no clients are taken from it" in page and "D:\\WB" in page
    root.ok("migrate", "undo", "1")
    assert {row["key"]: row["value"] for row in root.json("set")["settings"]}["boot.dhcp_range"] != settings["boot.dhcp_range"]
    path.write_text("[UI]\nLanguage=enu\nSkin=blue\n")
    assert "no table with a column of MAC addresses" in root.fails("migrate", "ccboot", path)


# --- progress ------------------------------------------------------------------------------------------------------------


def test_progress_counts_all_images_that_are_made(root):
    here = folder(root, "here", "a.raw", "b.raw")
    for name in ("a", "b"):
        subprocess.run(["qemu-img", "convert", "-O", "vhdx", str(here / f"{name}.raw"), str(here / f"{name}.vhdx")], check=True, timeout=60)
    path = table(root, ("pc01", r"D:\a.vhdx"), ("pc02", r"D:\b.vhdx"))
    lines = root.files / "progress"
    with open(lines, "wb") as file:
        args = root.command("--json", "migrate", "csv", path, "--map-path", f"D:={here}", f"--progress={file.fileno()}")
        done = subprocess.run(args, pass_fds=[file.fileno()], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = [tuple(map(int, line.split())) for line in lines.read_text().splitlines()]
    assert {total for _, total in told} == {2 * MIB}
    assert told == sorted(told) and told[-1] == (2 * MIB, 2 * MIB)


def test_progress_to_a_descriptor_that_is_not_open_is_refused(root):
    path = table(root, ("pc01", ""))
    assert "descriptor" in root.fails("migrate", "csv", path, "--progress=99")
