# SPDX-License-Identifier: GPL-2.0-or-later
"""Many command lines at once: each takes effect as a whole or says why not, and the catalog stays sound."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

from support.files import MIB, make_image
from support.iscsi import file_hash

CALLS = 20


def at_once(root, calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda args: root.run(*args, timeout=120), calls))


def assert_sound(root):
    with sqlite3.connect(f"file:{root.path}/catalog.db?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


def add(number, mac=None):
    return ["client", "add", f"pc{number:02}", "--mac", mac or f"52:54:00:00:00:{number:02x}", "--image", "win"]


def test_parallel_additions_all_take_effect(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", MIB))
    done = at_once(root, [add(number) for number in range(1, CALLS + 1)])
    assert [(d.args, d.returncode, d.stdout, d.stderr) for d in done if d.returncode != 0] == []
    clients = root.json("client", "list")["clients"]
    assert len(clients) == len({c["iqn"] for c in clients if "iqn" in c} or clients) == CALLS
    assert_sound(root)


def test_of_parallel_additions_of_one_mac_exactly_one_wins(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", MIB))
    done = at_once(root, [add(number, "52:54:00:00:00:01") for number in range(1, CALLS + 1)])
    assert sorted(d.returncode for d in done) == [0] + [1] * (CALLS - 1)
    assert len(root.json("client", "list")["clients"]) == 1
    assert_sound(root)


def test_parallel_changes_while_it_runs_end_in_what_the_catalog_says(root):
    image = make_image(root.files / "base.raw", MIB)
    root.ok("image", "add", "win", image)
    for number in range(1, 6):
        root.ok(*add(number))
    root.ok("up")
    calls = [add(number) for number in range(6, 16)]
    calls += [["client", "remove", f"pc{number:02}"] for number in range(1, 5)]
    calls += [["client", "rename", "pc05", "front"], ["up"], ["target", "sync"], ["target", "list"]]
    calls += [["client", "list"], ["image", "list"], ["image", "show", "win"]] * 4
    done = at_once(root, [*calls, ["status"]])
    assert done.pop().returncode in (0, 3)  # it may look in the middle of a change and say what is not yet done
    assert [(d.args, d.returncode, d.stdout, d.stderr) for d in done if d.returncode != 0] == []
    expected = {f"pc{number:02}" for number in range(6, 16)} | {"front"}
    assert {c["name"] for c in root.json("client", "list")["clients"]} == expected
    root.ok("target", "sync")
    assert {t["client"] for t in root.targets()} == expected
    assert root.disk("front").hash() == root.disk("pc15").hash() == file_hash(image)
    assert_sound(root)


def test_parallel_up_and_down_leave_nothing_half_started(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", MIB))
    root.ok(*add(1))
    at_once(root, [["up"], ["down"], ["up"], ["down"], ["up"]])
    root.ok("up")
    assert root.disk("pc01").can_log_in()
    root.ok("down")
    assert root.leftovers() == []
