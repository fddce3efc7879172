# SPDX-License-Identifier: GPL-2.0-or-later
"""PCs that are no clients: refused, noted until they are approved, or added."""

import concurrent.futures
import re

import pytest
from support import boot
from support.boot import MAC, SIZE, mac
from support.files import MIB, make_image


@pytest.fixture
def site(root):
    return boot.serve_one(root)


def test_reject_says_the_command_to_run(site):
    text = boot.sentence(boot.script(site, mac(5)))
    assert f"diskgate client add NAME --mac {mac(5)} --image IMAGE" in text
    assert site.json("client", "pending")["pending"] == []


def test_ask_lists_the_pc_until_it_is_approved(site):
    site.ok("set", "clients.unknown", "ask")
    for number in (5, 6, 5):
        text = boot.sentence(boot.script(site, mac(number)))
        assert str(number - 4) in text.split("\n")
    rows = site.json("client", "pending")["pending"]
    assert [(r["number"], r["mac"], r["requests"]) for r in rows] == [(1, mac(5), 2), (2, mac(6), 1)]
    site.ok("client", "approve", mac(6), "lab6", "--image", "win", "--mode", "kept")
    assert boot.BootedDisk(site, mac(6)).size() == SIZE
    assert [r["mac"] for r in site.json("client", "pending")["pending"]] == [mac(5)]
    site.ok("client", "approve", "1", "lab5", "--image", "win")  # by its number
    assert boot.BootedDisk(site, mac(5)).size() == SIZE
    assert "no PC with the number 1 waits" in site.fails("client", "approve", "1", "lab7")


def test_pcs_that_wait_can_be_forgotten_and_come_back(site):
    site.ok("set", "clients.unknown", "ask")
    for number in (5, 6):
        boot.script(site, mac(number))
    assert "2 PCs were forgotten" in site.ok("client", "pending", "--clear", "-n")
    assert len(site.json("client", "pending")["pending"]) == 2
    site.ok("client", "pending", "--clear")
    assert site.json("client", "pending")["pending"] == []
    assert site.json("log")["log"][-1]["verb"] == "pending clear"
    boot.script(site, mac(6))
    assert [(r["number"], r["mac"]) for r in site.json("client", "pending")["pending"]] == [(1, mac(6))]


def test_approve_refuses_who_does_not_wait(site):
    assert "client pending" in site.fails("client", "approve", mac(9), "lab9")


def test_auto_gives_ten_pcs_ten_names_at_once(site):
    site.ok("set", "clients.template_image", "win")
    site.ok("set", "clients.template", "Lab{02}")
    site.ok("set", "clients.unknown", "auto")
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        scripts = list(pool.map(lambda n: boot.script(site, mac(n), source=f"127.0.1.{n + 1}"), range(10)))
    names = {re.search(r"this PC is (\S+)", text)[1] for text in scripts}
    assert names == {f"Lab{n:02}" for n in range(1, 11)}
    assert all(boot.url_of(text) for text in scripts)
    assert {c["mac"] for c in site.json("client", "list")["clients"]} == {MAC, *(mac(n) for n in range(10))}


def test_auto_takes_the_links_of_a_template_client(site):
    make_image(site.files / "games.raw", MIB)
    site.ok("image", "add", "games", site.files / "games.raw", "--data")
    site.ok("client", "link", "pc1", "games", "--slot", "1")
    site.ok("client", "set", "pc1", "--mode", "kept", "--group", "room1")
    site.ok("set", "clients.template_client", "pc1")
    site.ok("set", "clients.unknown", "auto")
    assert boot.url_of(boot.script(site, mac(1)))
    row = next(c for c in site.json("client", "list")["clients"] if c["name"] == "PC001")
    assert (row["mode"], row["group"]) == ("kept", "room1")
    assert [(link["slot"], link["image"]) for link in row["links"]] == [(0, "win"), (1, "games")]


def test_auto_without_an_image_adds_nobody(site):
    site.ok("set", "clients.unknown", "auto")
    before = site.catalog_text()
    assert "clients.template_image" in boot.sentence(boot.script(site, mac(1)))
    site.ok("set", "clients.template_image", "gone")
    assert "gone" in boot.sentence(boot.script(site, mac(1)))
    site.ok("set", "clients.template_image", "--default")
    assert site.catalog_text() == before
