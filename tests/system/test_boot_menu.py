# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot menus: what a PC may choose, what its choice changes and what it leaves alone; disabled clients and hidden images."""

import contextlib
import json
import os
import re
import sqlite3

import pytest
from support import boot, system
from support.files import MIB, make_image

MAC = "52:54:00:00:00:01"
SIZES = {"win": 64 * MIB, "linux": 65 * MIB, "tools": 66 * MIB}


@pytest.fixture
def site(make_root):
    """pc1 starts from win (slot 0), linux (slot 16) or tools (slot 17)."""
    root = make_root()
    for name, size in SIZES.items():
        (root.files / f"{name}.raw").write_bytes(name.encode().ljust(MIB, b"."))
        os.truncate(root.files / f"{name}.raw", size)
        root.ok("image", "add", name, root.files / f"{name}.raw", "-m", f"the {name} disk")
    root.ok("client", "add", "pc1", "--mac", MAC, "--image", "win")
    root.ok("client", "link", "pc1", "linux", "--menu")
    root.ok("client", "link", "pc1", "tools@1", "--menu")
    root.ok("up")
    return root


def items(text):
    """{slot: words} of a menu; None if the script is none."""
    found = re.findall(r"^item --key \d (\d+) \d: (.*)$", text, re.MULTILINE)
    return {int(slot): words for slot, words in found} if "\nmenu " in text else None


def state(site):
    """All that a menu must not change: what booting notes about itself is left out."""
    return [line for line in site.catalog_text().splitlines() if 'INSERT INTO "boot"' not in line]


def overlay_ids(site):
    return {row["slot"]: row["overlay_id"] for row in site.json("overlay", "show", "pc1")["overlays"]}


class Choice(boot.BootedDisk):
    """The disk of a PC that has answered its menu."""

    def __init__(self, site, slot):
        super().__init__(site, f"{MAC}/{slot}")


def lun_1(site):
    return [row for row in site.targets() if row["client"] == "pc1" and row["lun"] == 1]


# --- the menu ---


def test_menu_shows_names_versions_and_comments_and_changes_nothing(site):
    before = state(site)
    text = boot.script(site, MAC)
    assert items(text) == {0: "win - the win disk", 16: "linux - the linux disk", 17: "tools@1 - the tools disk"}
    assert "choose --default 0 --timeout 15000 choice || set choice 0\n" in text
    assert "chain --replace --autofree /boot/52-54-00-00-00-01/${choice} ||\n" in text
    for _ in range(3):
        boot.script(site, MAC)
    assert state(site) == before
    assert "got its boot menu" in site.ok("client", "why", "pc1")
    assert [row["image"] for row in site.json("log", "--boots")["boots"]] == [""]
    boot.choose(site, MAC, 16)
    assert [row["image"] for row in site.json("log", "--boots")["boots"]] == ["linux"]


def test_menu_takes_default_and_timeout_of_client_or_setting(site):
    site.ok("client", "set", "pc1", "--boot-default", "linux", "--menu-timeout", "7")
    assert "choose --default 16 --timeout 7000 choice || set choice 16\n" in boot.script(site, MAC)
    site.ok("client", "set", "pc1", "--boot-default", "17", "--menu-timeout", "0")
    site.ok("set", "boot.menu_timeout_s", "0")
    assert "choose --default 17 choice || set choice 17\n" in boot.script(site, MAC)
    site.ok("client", "unlink", "pc1", "--slot", "17")
    assert "choose --default 0 choice" in boot.script(site, MAC)
    assert "no disk from 'tools' to boot from" in site.fails("client", "set", "pc1", "--boot-default", "tools")
    assert "has no image linked to slot 20" in site.fails("client", "set", "pc1", "--boot-default", "20")
    site.ok("client", "link", "pc1", "linux@1", "--menu")
    assert "name the slot instead" in site.fails("client", "set", "pc1", "--boot-default", "linux")


def test_choice_gives_that_disk_and_leaves_the_others_alone(site):
    before = overlay_ids(site)
    disk = Choice(site, 16)
    assert disk.size() == SIZES["linux"]
    disk.write(b"\x5a" * 4096, 0)
    assert [(row["slot"], row["image"]) for row in lun_1(site)] == [(16, "linux")]
    assert Choice(site, 0).size() == SIZES["win"]
    assert Choice(site, 17).size() == SIZES["tools"]
    assert overlay_ids(site) == before  # volatile ones, too, until they are chosen
    assert site.view("pc1", 16).read_bytes()[:4096] == b"\x5a" * 4096
    assert Choice(site, 16).read_all()[:5] == b"linux"
    after = overlay_ids(site)
    assert after.pop(16) != before.pop(16)
    assert after == before


def test_choices_of_a_kept_client_keep_what_was_written(site):
    site.ok("client", "set", "pc1", "--mode", "kept")
    for slot in (0, 16):
        Choice(site, slot).write(bytes([slot + 1]) * 4096, 0)
    for slot in (16, 0):
        assert Choice(site, slot).read_all()[:4096] == bytes([slot + 1]) * 4096


def test_repeated_choice_makes_no_work_and_one_row(site):
    boot.choose(site, MAC, 16)
    before = state(site)
    for _ in range(5):
        boot.choose(site, MAC, 16)
    assert state(site) == before
    assert len(site.json("log", "--boots")["boots"]) == 1


@pytest.mark.parametrize("slot", ["1", "15", "18", "31", "32", "99", "00", "-1", "16/16", "", "16%20", "${choice}", "0x10"])
def test_request_for_what_is_no_choice_is_refused_and_changes_nothing(site, slot):
    make_image(site.files / "games.raw", MIB)
    site.ok("image", "add", "games", site.files / "games.raw", "--data")
    site.ok("client", "link", "pc1", "games", "--slot", "1")
    before = state(site)
    text = boot.script(site, f"{MAC}/{slot}".replace("${choice}", "%24%7Bchoice%7D"))
    is_slot_0 = slot == "00"
    assert bool(boot.url_of(text)) == is_slot_0
    assert is_slot_0 or re.search(r"none of the disks that pc1 can start from|is no MAC address", boot.sentence(text))
    assert state(site) == before


# --- hidden images ---


def test_hidden_image_is_in_no_menu_and_cannot_be_chosen(site):
    site.ok("image", "set", "linux", "--hidden", "on")
    assert list(items(boot.script(site, MAC))) == [0, 17]
    before = state(site)
    assert "slot 16 is none of the disks" in boot.sentence(boot.choose(site, MAC, 16))
    assert state(site) == before
    site.ok("client", "set", "pc1", "--boot-default", "17")
    hidden = site.run("client", "set", "pc1", "--boot-default", "linux", "-n").stderr
    assert "slot 16 of client 'pc1' is hidden" in hidden and "takes slot 0" in hidden
    site.ok("image", "set", "tools", "--hidden", "on")
    text = boot.script(site, MAC)  # one is left: no menu
    assert items(text) is None and boot.url_of(text)
    assert lun_1(site)[0]["image"] == "win"
    site.ok("image", "set", "win", "--hidden", "on")
    assert boot.url_of(boot.script(site, MAC))  # none is left: as if there was no menu
    assert lun_1(site)[0]["image"] == "tools"
    site.ok("image", "set", "linux", "--hidden", "off")
    assert boot.url_of(boot.script(site, MAC))
    assert lun_1(site)[0]["image"] == "linux"


def test_client_that_is_added_by_itself_gets_the_menu_of_its_template(site):
    site.ok("client", "set", "pc1", "--boot-default", "tools", "--menu-timeout", "3", "--netmask", "255.255.0.0")
    site.ok("set", "clients.template_client", "pc1")
    site.ok("set", "clients.unknown", "auto")
    text = boot.script(site, "52:54:00:00:00:02")
    assert list(items(text)) == [0, 16, 17]
    assert "choose --default 17 --timeout 3000 choice" in text
    row = site.json("client", "show", "PC001")
    assert (row["boot_default_slot"], row["netmask"], row["is_disabled"]) == (17, "255.255.0.0", False)


# --- running clients ---


def test_live_session_keeps_its_disk_whatever_is_asked_or_set(site):
    url = boot.url_of(boot.choose(site, MAC, 16))
    with boot.session(site, url):
        before = overlay_ids(site)
        for text in (boot.script(site, MAC), boot.choose(site, MAC, 0), boot.choose(site, MAC, 16)):
            assert "still in use by the PC" in boot.sentence(text)
        site.ok("client", "set", "pc1", "--boot-default", "tools")
        with contextlib.closing(sqlite3.connect(site.path / "catalog.db")) as db, db:
            db.execute("UPDATE client SET boot_slot = 17")  # as a request would that came before the session
        assert "runs from slot 16 and gets another disk at its next boot" in site.ok("target", "sync")
        assert [(row["slot"], row["state"], len(row["sessions"])) for row in lun_1(site)] == [(16, "open", 1)]
        assert site.json("status")["problems"] == []
        assert overlay_ids(site) == before
        site.ok("client", "reset", "pc1", "--slot", "17")  # not the one that it runs from
        site.ok("client", "unlink", "pc1", "--slot", "17")
        assert "is running now" in site.fails("client", "reset", "pc1", "--slot", "16")
        assert "is running now" in site.fails("client", "unlink", "pc1", "--slot", "16")
        assert "is running now" in site.fails("client", "set", "pc1", "--disabled", "on")
    system.wait_until(lambda: Choice(site, 0), what="the end of the session to be noticed")
    assert lun_1(site)[0]["slot"] == 0


def test_disk_that_is_unlinked_under_its_client_is_not_replaced_by_another(site):
    url = boot.url_of(boot.choose(site, MAC, 16))
    with boot.session(site, url):
        site.ok("client", "unlink", "pc1", "--slot", "16", "--force")
        assert lun_1(site) == []
        assert any("was unlinked" in row["notice"] for row in site.json("status")["notices"])
        with pytest.raises(Exception):  # noqa: B017: whatever the initiator says
            site.disk("pc1")
    system.wait_until(lambda: Choice(site, 0), what="the end of the session to be noticed")
    assert [row["slot"] for row in lun_1(site)] == [0]
    assert site.json("status")["notices"] == []


# --- the server ---


def test_lost_disk_of_another_choice_closes_nothing(site):
    for slot in (16, 0):
        Choice(site, slot).write(b"\x5a" * 4096, 0)
    boot.choose(site, MAC, 17)
    boot.cut_server_power(site)
    site.ok("up")
    assert [(row["slot"], row["state"]) for row in lun_1(site)] == [(17, "open")]
    assert site.json("status")["notices"] == []
    assert Choice(site, 16).size() == SIZES["linux"]


def test_damaged_image_of_a_choice_is_said_and_the_others_boot(site):
    site.ok("down")
    (site.files / "linux.raw").rename(site.files / "away.raw")
    site.run("up")
    assert "cannot be served" in boot.sentence(boot.choose(site, MAC, 16))
    assert any("slot 16" in row["what"] for row in json.loads(site.run("--json", "status").stdout)["problems"])
    assert Choice(site, 17).size() == SIZES["tools"]


# --- disabled clients ---


def test_disabled_client_is_refused_and_its_target_closed_until_it_is_enabled(site):
    disk = Choice(site, 0)
    assert disk.can_log_in()
    site.ok("client", "set", "pc1", "--disabled", "on")
    assert not disk.can_log_in()
    for text in (boot.script(site, MAC), boot.choose(site, MAC, 16)):
        assert "client set pc1 --disabled off" in boot.sentence(text)
        assert not boot.url_of(text)
    row = lun_1(site)[0]
    assert (row["state"], "disabled" in row["problem"]) == ("closed", True)
    status = site.json("status")
    assert (status["state"], status["problems"], status["clients_disabled"]) == ("up", [], 1)
    assert "1 disabled" in site.ok("status")
    assert site.json("client", "list")["clients"][0]["is_disabled"] is True
    assert "is disabled" in site.ok("client", "why", "pc1")
    site.ok("target", "sync")
    assert not disk.can_log_in()
    site.ok("client", "set", "pc1", "--disabled", "off")
    assert disk.can_log_in()


# --- configuration ---


def test_dump_and_apply_carry_menus_and_disabled_clients(site, make_root):
    site.ok("client", "set", "pc1", "--boot-default", "tools", "--menu-timeout", "9", "--disabled", "on")
    site.ok("client", "set", "pc1", "--netmask", "255.255.0.0", "--gateway", "10.0.0.1", "--dns", "10.0.0.1 10.0.0.2")
    site.ok("image", "set", "linux", "--hidden", "on")
    text = site.ok("dump", "--secrets")
    path = site.files / "site.json"
    path.write_text(text)
    other = make_root()
    other.ok("set", "gateway.port", other.port)
    other.ok("apply", path, "--force")
    assert other.ok("dump", "--secrets") == text
    assert other.run("apply", path, "-n").returncode == 0
    path.write_text(text.replace('"boot_default_slot": 17', '"boot_default_slot": 18'))
    assert "clients[0].boot_default_slot" in other.fails("apply", path)
    path.write_text(text.replace('"disabled": true', '"disabled": "yes"'))
    assert "clients[0].disabled" in other.fails("apply", path)
    path.write_text(text.replace("255.255.0.0", "255.0.255.0"))
    assert "clients[0].netmask" in other.fails("apply", path)
