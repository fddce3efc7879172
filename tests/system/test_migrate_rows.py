# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of an import: which of them share something, what they are called, where their columns go, and what the report says of a change."""

import json
import os
import sqlite3

import pytest
from support.files import MIB, make_image

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def programs_in_path(programs, monkeypatch):
    monkeypatch.setenv("PATH", f"{programs.build / 'migrate'}:{os.environ['PATH']}")


HEAD = "Computer;MAC;IP;Image;Seat\n"


def table(root, rows, name="clients.csv"):
    """A CSV file of rows (name, number of the MAC, address, image, seat)."""
    path = root.files / name
    lines = (f"{name};52-54-00-{mac >> 16 & 255:02X}-{mac >> 8 & 255:02X}-{mac & 255:02X};{ip};{image};{seat}\n" for name, mac, ip, image, seat in rows)
    path.write_text(HEAD + "".join(lines))
    return path


def run(root, path, *options, status=0):
    done = root.run("--json", "migrate", "csv", path, *options)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def stored(root, sql):
    with sqlite3.connect(f"file:{root.path}/catalog.db?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def remembered(root):
    """{MAC: (id of the client, what was stored)} of clients that the next import of their origin has not seen yet (core/catalog-import-pack.c)."""
    found = {}
    for (data,) in stored(root, "SELECT data FROM import_pack"):
        while data:
            client = int.from_bytes(data[:8], "little")
            mac, _, src, given, data = data[8:].split(b"\0", 4)
            fields = zip(given.decode().split("\x1f"), src.decode().split("\x1f"), strict=True)
            found[mac.decode()] = (client, [theirs if ours == "\x1e" else ours for ours, theirs in fields])
    return found


def test_many_clients_with_few_names_get_others_and_all_that_belongs_to_a_client(root):
    """More rows than one piece of a sort holds."""
    number = 20000
    rows = [
        (f"PC {n % 500}{'!' * (n // 500 + 1)}", n, f"10.0.{n // 250}.{n % 250 + 1}" if n % 3 else "10.9.9.9", "", "")  # "PC 1!!!" becomes PC-1
        for n in range(number)
    ]
    names = {f"pc-{n}" for n in range(500)}
    path = table(root, rows)
    report = run(root, path)
    assert report["counts"]["imported"] == number
    clients = stored(root, "SELECT id, name, mac, ip, iqn, chap_user, chap_password, overlay_dir FROM client ORDER BY id")
    assert len(clients) == number and stored(root, "PRAGMA integrity_check") == [("ok",)] and not stored(root, "PRAGMA foreign_key_check")
    for column in (1, 2, 4, 5, 6, 7):
        assert len({client[column].lower() for client in clients}) == number
    assert {client[1].lower() for client in clients} == names | {f"{name}-{n}" for name in names for n in range(2, 41)}
    assert all(iqn.endswith(f":{user}") and user == name.lower() for _, name, _, _, iqn, user, _, _ in clients)
    by_row = {row["mac"]: row["values"] for row in report["rows"]}
    tracked = remembered(root)
    assert len(tracked) == number and stored(root, "SELECT count(*) FROM import_client") == [(0,)]
    for ident, name, mac, ip, *_ in clients:
        assert by_row[mac]["name"] == name and by_row[mac].get("ip", "") == ip
        assert tracked[mac][0] == ident and tracked[mac][1][:2] == [name, ip]
    addresses = [client[3] for client in clients if client[3]]
    assert len(addresses) == len(set(addresses)) and addresses.count("10.9.9.9") == 1
    assert run(root, path)["counts"]["unchanged"] == number
    assert stored(root, "SELECT count(*), count(DISTINCT client_id) FROM import_client") == [(number, number)] and not remembered(root)
    root.ok("migrate", "undo", "1")
    assert stored(root, "SELECT count(*) FROM client") == stored(root, "SELECT count(*) FROM import_client") == [(0,)]


def test_folder_and_label_of_a_client_that_was_here_are_not_given_again(root):
    root.ok("client", "add", "pc01", "--mac", "52:54:00:ff:00:01")
    root.ok("client", "remove", "pc01")
    root.ok("client", "add", "PC_02", "--mac", "52:54:00:ff:00:02")  # its label is pc-02
    run(root, table(root, [("pc01", 1, "", "", ""), ("pc-02", 2, "", "", "")]))
    found = dict(stored(root, "SELECT name, overlay_dir || ' ' || chap_user FROM client"))
    assert found == {"pc01": "pc01.2 pc01", "PC_02": "PC_02 pc-02", "pc-02": "pc-02 pc-02-2"}
    ids = [row[0] for row in stored(root, "SELECT id FROM client ORDER BY id")]
    assert ids == [2, 3, 4], "ids are never given again"


@pytest.mark.parametrize("names", [("PC_1", "PC-1", "pc2"), ("x" * 52 + "a", "x" * 52 + "b", "pc2"), ("pc-1", "pc-1.2", "PC_1")])
def test_names_that_make_one_label_get_labels_of_their_own(root, names):
    run(root, table(root, [(name, number, "", "", "") for number, name in enumerate(names, 1)]))
    clients = stored(root, "SELECT name, chap_user, iqn, overlay_dir FROM client")
    assert {name for name, *_ in clients} == set(names) and {folder for *_, folder in clients} == set(names)
    labels = [user for _, user, _, _ in clients]
    assert len(set(labels)) == len(names) and all(iqn.endswith(f":{user}") for _, user, iqn, _ in clients)
    assert "pc2" not in names or "pc2" in labels
    again = table(root, [("PC__1", 7, "", "", ""), ("pc--1", 8, "", "", "")], "more.csv")  # and beside those that are here
    run(root, again)
    assert len({user for (user,) in stored(root, "SELECT chap_user FROM client")}) == len(names) + 2


def test_rows_far_apart_that_share_a_mac_or_a_name_are_found(root):
    rows = [(f"pc{n}", n, "", "", "") for n in range(3000)]
    rows.append(("other", 7, "", "", ""))  # the MAC of row 8
    rows.append(("PC21", 5000, "", "", ""))  # the name of row 22
    rows.append(rows[40])  # twice the same
    report = run(root, table(root, rows), "--skip-conflicts")
    told = {row["row"]: (row["result"], row["reason"]) for row in report["rows"] if row["result"] != "imported"}
    assert sorted(told) == [8, 22, 3001, 3002, 3003]
    assert {told[n][0] for n in (8, 22, 3001, 3002)} == {"conflict"} and told[3003] == ("skipped", "says the same as row 41")
    assert "rows 8, 3001" in told[8][1] and "rows 22, 3002" in told[22][1]
    assert report["counts"]["imported"] == 2998 and report["counts"]["conflict"] == 4


def test_changed_links_and_images_are_told_by_names(root):
    folder = root.files / "images"
    folder.mkdir()
    for number, name in enumerate(("a.img", "b.img")):
        make_image(folder / name, 1 * MIB, seed=number)
    options = ("--map-path", f"D:={folder}")
    run(root, table(root, [("pc1", 1, "", "D:\\a.img", ""), ("pc2", 2, "", "D:\\b.img", "")]), *options)
    report = run(root, table(root, [("pc1", 1, "", "D:\\b.img", ""), ("pc2", 2, "", "D:\\b.img", "")]), *options)
    fields = {field["field"]: field for field in report["rows"][0]["fields"]}
    assert fields["links"] == {"field": "links", "old": {"0": "a"}, "new": {"0": "b"}}
    assert fields["images"] == {"field": "images", "old": ["D:\\a.img"], "new": ["D:\\b.img"]}


def test_column_without_a_place_is_named_wherever_its_first_value_is(root):
    rows = [(f"pc{n}", n, "", "", "by the door" if n == 150 else "") for n in range(200)]
    path = table(root, rows)
    path.write_text(path.read_text().replace(";Seat", ";Chair7"))
    page = root.ok("migrate", "csv", path, "-n")
    assert "Without a place in Diskgate, kept in the report: Chair7" in page


def test_page_counts_the_columns_that_it_does_not_name(root):
    path = root.files / "wide.csv"
    columns = [f"Strange column number {n}" for n in range(60)]
    path.write_text(f"Computer;MAC;{';'.join(columns)}\n" + "".join(f"pc{n};52-54-00-00-00-0{n};{';'.join('x' for _ in columns)}\n" for n in (1, 2)))
    line = next(line for line in root.ok("migrate", "csv", path, "-n").splitlines() if "Without a place" in line)
    named = line.count("Strange column")
    assert 5 < named < 60 and line.endswith(f"and {60 - named} more")


def test_page_has_the_name_of_the_source_beside_another_one(root):
    path = root.files / "names.csv"
    path.write_text("Computer;MAC\n网吧001号机;52-54-00-00-00-01\nPC 2;52-54-00-00-00-02\npc3;52-54-00-00-00-03\n")
    page = root.ok("migrate", "csv", path, "-n", "-v")
    assert "row 1, 001 ('网吧001号机'), 52:54" in page and "row 2, PC-2 ('PC 2'), " in page and "row 3, pc3, 52:54" in page


def test_groups_of_other_alphabets_stay_apart_and_are_told(root):
    names = ["Зал 1", "Бар 1", "贵宾区", "大厅", "VIP"]
    path = root.files / "groups.csv"
    path.write_text("Computer;MAC;Group\n" + "".join(f"pc{n};52-54-00-00-00-{n:02X};{name}\n" for n, name in enumerate(names)))
    page = root.ok("migrate", "csv", path, "-n")
    report = run(root, path)
    groups = [client["group"] for client in root.json("client", "list")["clients"]]
    assert len(set(groups)) == 5 and groups[4] == "VIP"
    assert [row.get("rest", {}).get("Group") for row in report["rows"]] == [*names[:4], None]
    assert all(f"'{name}' is {group}" in page for name, group in zip(names[:4], groups, strict=False)) and "'VIP'" not in page
    assert run(root, path)["counts"]["unchanged"] == 5


def test_long_values_are_in_the_report_whole(root):
    comment, note = "к" * 300, "漢" * 200000
    path = root.files / "long.csv"
    path.write_text(f"Computer;MAC;Comment;Chair7\npc1;52-54-00-00-00-01;{comment};{note}\npc2;52-54-00-00-00-02;short;x\n")
    page = root.ok("migrate", "csv", path)
    report = json.loads((root.path / "imports" / "1.json").read_text())
    assert report["rows"][0]["rest"] == {"Comment": comment, "Chair7": note} and report["rows"][1]["rest"] == {"Chair7": "x"}
    assert "are cut: 1; the report has them whole" in page
    assert root.json("client", "show", "pc1")["comment"] == "к" * 126 + "..."


def test_value_that_no_report_can_keep_is_told(root):
    path = root.files / "long.csv"
    path.write_text("Computer;MAC;Chair7\npc1;52-54-00-00-00-01;" + "x" * 1000000 + "\n")
    page = root.ok("migrate", "csv", path, "-n")
    assert "Its column 'Chair7' has 1000000 bytes, of which the report cannot keep all" in page


def test_third_name_server_is_kept_in_the_report(root):
    path = root.files / "dns.csv"
    path.write_text("Computer;MAC;DNS;Gateway\npc1;52-54-00-00-00-01;1.1.1.1 2.2.2.2 3.3.3.3;10.0.0.1\npc2;52-54-00-00-00-02;2.2.2.2;fe80::1\n")
    rows = run(root, path)["rows"]
    assert rows[0]["values"]["dns"] == "1.1.1.1,2.2.2.2" and rows[0]["rest"] == {"DNS": "1.1.1.1 2.2.2.2 3.3.3.3"}
    assert rows[1]["rest"] == {"Gateway": "fe80::1"}


def test_addresses_of_few_are_taken_where_most_say_that_they_have_none(root):
    path = root.files / "few.csv"
    lines = [f"pc{n};52-54-00-00-00-{n:02X};{'auto' if n % 2 else '0.0.0.0'};0.0.0.0;0.0.0.0" for n in range(1, 10)]
    lines += [f"pc{n};52-54-00-00-00-{n:02X};10.0.0.{n};10.0.0.1;255.0.0.0" for n in range(10, 13)]
    path.write_text("Computer;MAC;IP;Gateway;Mask\n" + "\n".join(lines) + "\n")
    page = root.ok("migrate", "csv", path)
    shown = {client["name"]: root.json("client", "show", client["name"]) for client in root.json("client", "list")["clients"]}
    assert "3 of 12 values are IP addresses, 9 say that there is none" in page
    assert [shown["pc11"][key] for key in ("ip", "gateway", "netmask")] == ["10.0.0.11", "10.0.0.1", "255.0.0.0"]
    assert [shown["pc1"][key] for key in ("ip", "gateway", "netmask")] == [None, None, None]


def test_keys_of_clients_in_ccboot_ini_are_not_the_site_s(root):
    path = root.files / "CCBoot.ini"
    path.write_text(
        "[DHCP]\nServerIP=10.0.0.2\nStartIP=10.0.0.10\nEndIP=10.0.0.99\nWriteBack=D:\\WB\n"
        "[Client1]\nName=PC1\nMAC=001B21000001\nGateway=10.7.7.7\nWriteBack=E:\\WB\n"
    )
    report = root.json("migrate", "ccboot", path)
    assert report["counts"]["imported"] == 1
    rest = report["site"]["rest"]
    assert "D:\\WB" in rest.values() and not {"E:\\WB", "PC1", "001B21000001"} & set(rest.values())
    settings = {row["key"]: row["value"] for row in root.json("set")["settings"]}
    assert settings["boot.dhcp_range"] == "10.0.0.10-10.0.0.99" and settings["boot.dhcp_router"] != "10.7.7.7"


def names(root):
    return {row["mac"]: (row["name"], row["ip"]) for row in root.json("client", "list")["clients"]}


def test_client_that_made_way_and_comes_back_gets_its_name_again(root):
    """Another network card in the same PC, and the old one again."""
    old, new = [("pc1", 1, "10.0.0.1", "", "")], [("pc1", 2, "10.0.0.1", "", "")]
    first, second = "52:54:00:00:00:01", "52:54:00:00:00:02"
    run(root, table(root, old))
    run(root, table(root, new))
    assert names(root) == {first: ("pc1-gone", None), second: ("pc1", "10.0.0.1")}
    report = run(root, table(root, old))
    assert report["counts"]["changed"] == 1 and names(root) == {first: ("pc1", "10.0.0.1"), second: ("pc1-gone", None)}
    assert run(root, table(root, old))["counts"]["unchanged"] == 1
    root.ok("migrate", "undo", "4")
    root.ok("migrate", "undo", "3")
    assert names(root) == {first: ("pc1-gone", None), second: ("pc1", "10.0.0.1")}
    root.ok("client", "rename", "pc1-gone", "ours")
    run(root, table(root, old))
    assert names(root) == {first: ("ours", "10.0.0.1"), second: ("pc1", None)}, "only what was edited here stays"
