# SPDX-License-Identifier: GPL-2.0-or-later
"""Where `clients.unknown auto` ends: invented MACs fill neither the catalog nor the disk, and a PC that is none of them finds its way in."""

import json

import pytest
from support import boot, system
from support.files import MIB, make_image

MAC = "52:54:00:00:00:01"


@pytest.fixture
def site(make_root):
    root = make_root()
    make_image(root.files / "base.raw", 64 * MIB)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc1", "--mac", MAC, "--image", "win")
    root.ok("set", "clients.template_image", "win")
    root.ok("set", "clients.unknown", "auto")
    return root


def mac(number):
    return f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}"


def clients(site, *words):
    return sorted(row["name"] for row in site.json("client", "list", *words)["clients"])


def sentences(site, kind):
    """What `status` says of clients, as problems or as notices."""
    done = site.run("status", "--json")
    singular = kind[:-1]
    return [row[singular] for row in json.loads(done.stdout)[kind] if row["what"] == "clients"]


def test_auto_ends_where_there_are_clients_enough(site):
    site.ok("set", "clients.auto_max", "3")
    site.ok("up")
    assert sentences(site, "notices") == sentences(site, "problems") == []
    for number in (1, 2):
        assert boot.url_of(boot.script(site, mac(number)))
    for number in range(3, 60):
        told = boot.sentence(boot.script(site, mac(number)))
        assert "there are 3 clients, clients.auto_max is 3" in told
        assert f"diskgate client approve {mac(number)} NAME" in told
    assert clients(site) == ["PC001", "PC002", "pc1"]
    assert boot.url_of(boot.script(site, MAC)) and boot.url_of(boot.script(site, mac(1)))  # who is one stays one
    assert "clients.auto_max is 3" in (site.path / "run" / "diskgated.log").read_text()


def test_pc_that_came_too_late_gets_in_by_hand_or_by_a_higher_limit(site):
    site.ok("set", "clients.auto_max", "1")
    site.ok("up")
    boot.script(site, mac(1))
    boot.script(site, mac(2))
    assert [row["mac"] for row in site.json("client", "pending")["pending"]] == [mac(1), mac(2)]
    site.ok("client", "approve", mac(1), "lab1")
    assert boot.url_of(boot.script(site, mac(1)))
    site.ok("set", "clients.auto_max", "3")
    assert boot.url_of(boot.script(site, mac(2)))
    assert clients(site) == ["PC001", "lab1", "pc1"]
    assert site.json("client", "pending")["pending"] == []


def test_status_says_that_the_limit_is_reached_and_who_waits(site):
    site.ok("set", "clients.auto_max", "1")
    site.ok("up")
    [notice] = sentences(site, "notices")
    assert "clients.unknown auto adds nobody any more" in notice and "'diskgate set clients.auto_max N'" in notice
    assert site.run("status").returncode == 0
    boot.script(site, mac(1))
    [problem] = sentences(site, "problems")
    assert problem.startswith("1 unknown PC asks now and is not added: ")
    assert sentences(site, "notices") == []
    assert site.run("status").returncode == 3
    site.ok("client", "pending", "--clear")
    assert site.run("status").returncode == 0
    site.ok("set", "clients.unknown", "ask")
    assert sentences(site, "notices") == []


def test_auto_adds_so_many_within_a_minute_and_no_more(site):
    site.ok("set", "clients.auto_per_minute", "2")
    site.ok("up")
    assert boot.url_of(boot.script(site, mac(1))) and boot.url_of(boot.script(site, mac(2)))
    text = boot.script(site, mac(3))
    assert "2 were added within the last minute, as many as clients.auto_per_minute allows" in boot.sentence(text)
    assert "goto again" in text  # it asks again by itself
    assert site.json("client", "pending")["pending"] == []
    site.ok("client", "remove", "PC002")  # the flood does not get its allowance back by a removal
    assert not boot.url_of(boot.script(site, mac(3)))
    site.ok("set", "clients.auto_per_minute", "3")
    assert boot.url_of(boot.script(site, mac(3)))


def test_clients_that_never_logged_in_can_be_listed(site):
    site.ok("up")
    boot.script(site, mac(1))
    assert clients(site, "--unused") == ["PC001", "pc1"]
    with boot.session(site, boot.url_of(boot.script(site, MAC))):
        assert clients(site, "--unused") == ["PC001"]
        system.wait_until(lambda: booted_at(site, "pc1"), what="the login to be noted")
    system.wait_until(lambda: not site.target("pc1")["sessions"], what="the end of the session")
    assert clients(site, "--unused") == ["PC001"]
    assert clients(site) == ["PC001", "pc1"]


def booted_at(site, name):
    return next(row["booted_at"] for row in site.json("client", "list")["clients"] if row["name"] == name)


def test_requests_with_changing_passwords_do_not_fill_the_log(site):
    site.ok("set", "auth.rotate", "on")
    site.ok("up")
    before = len(site.json("log")["log"])
    scripts = [boot.script(site, MAC) for _ in range(5)]
    assert len({boot.url_of(text) for text in scripts}) == 5  # each with a password of its own
    assert len(site.json("log")["log"]) == before
