# SPDX-License-Identifier: GPL-2.0-or-later
"""Undo of an import: what depends on it is named with the way out, and nothing is taken away from under anybody."""

import json
import os

import pytest
from support.files import MIB, make_image

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def programs_in_path(programs, monkeypatch):
    monkeypatch.setenv("PATH", f"{programs.build / 'migrate'}:{os.environ['PATH']}")


@pytest.fixture
def imported(root):
    """A function that imports rows (name, number of the MAC, address, image); D: has a.img and b.img."""
    folder = root.files / "images"
    folder.mkdir()
    for seed, name in enumerate(("a.img", "b.img")):
        make_image(folder / name, 1 * MIB, seed=seed)

    def run(*rows):
        path = root.files / "clients.csv"
        lines = (f"{name};00-1B-21-00-00-{mac:02X};{ip};{f'D:{chr(92)}{image}' if image else ''}\n" for name, mac, ip, image in rows)
        path.write_text("Computer;MAC;IP;Image\n" + "".join(lines))
        return root.json("migrate", "csv", path, "--map-path", f"D:={folder}")

    return run


def clients(root):
    rows = root.json("client", "list")["clients"]
    return {row["name"]: (row["ip"], {link["slot"]: link["image"] for link in row["links"]}) for row in rows}


def refused(root, number, *words):
    """The undo is refused and changes nothing; each word is in a sentence of its own, on stderr and in the JSON."""
    before = root.catalog_text()
    done = root.run("--json", "migrate", "undo", number)
    assert done.returncode == 1, done.stdout
    obstacles = json.loads(done.stdout)["obstacles"]
    assert len(obstacles) == len(words), obstacles
    for sentence, word in zip(sorted(obstacles), sorted(words)):
        assert word in sentence and sentence in done.stderr
    assert root.run("migrate", "undo", number, "-n").returncode == 1
    assert root.catalog_text() == before


def test_client_that_keeps_changes_over_a_new_disk_is_an_obstacle(root, imported):
    """The undo would link it to its old disk, and what it keeps would be lost."""
    imported(("pc1", 1, "", "a.img"))
    imported(("pc1", 1, "", "b.img"))
    root.ok("client", "set", "pc1", "--mode", "kept")
    refused(root, 2, "keeps its changes (mode kept) over disks")
    assert clients(root)["pc1"][1] == {0: "b"}
    root.ok("client", "set", "pc1", "--mode", "volatile")
    root.ok("migrate", "undo", "2")
    assert clients(root)["pc1"][1] == {0: "a"}


def test_client_that_keeps_changes_over_the_same_disk_is_none(root, imported):
    imported(("pc1", 1, "", "a.img"))
    imported(("pc1", 1, "10.0.0.1", "a.img"))
    root.ok("client", "set", "pc1", "--mode", "kept")
    root.ok("migrate", "undo", "2")
    assert clients(root) == {"pc1": (None, {0: "a"})}


def test_link_to_an_image_of_the_import_is_an_obstacle_also_of_a_client_that_it_met(root, imported):
    root.ok("client", "add", "mine", "--mac", "00:1b:21:00:00:09")
    imported(("pc1", 1, "", "a.img"), ("mine", 9, "", ""))
    root.ok("client", "link", "mine", "a")
    refused(root, 1, "image 'a' is linked to client 'mine'")
    root.ok("client", "unlink", "mine", "--slot", "0")
    root.ok("migrate", "undo", "1")
    assert clients(root) == {"mine": (None, {})}


def test_settings_that_name_what_the_import_made_are_obstacles(root, imported):
    imported(("pc1", 1, "", "a.img"))
    root.ok("set", "clients.template_image", "A@1")
    root.ok("set", "clients.template_client", "PC1")
    refused(root, 1, "the setting clients.template_client", "the setting clients.template_image")
    for key in ("clients.template_image", "clients.template_client"):
        root.ok("set", key, "--default")
    root.ok("migrate", "undo", "1")


def test_name_and_address_that_another_client_has_now_are_obstacles(root, imported):
    imported(("pc1", 1, "10.0.0.1", ""))
    imported(("other", 1, "10.0.0.2", ""))
    root.ok("client", "add", "PC1", "--mac", "00:1b:21:00:00:09", "--ip", "10.0.0.1")
    refused(root, 2, "the name 'pc1', which client 'PC1' has", "the address '10.0.0.1', which client 'PC1' has")
    root.ok("client", "remove", "PC1")
    root.ok("migrate", "undo", "2")
    assert clients(root) == {"pc1": ("10.0.0.1", {})}


def test_names_that_were_exchanged_come_back(root, imported):
    imported(("pc1", 1, "10.0.0.1", ""), ("pc2", 2, "10.0.0.2", ""))
    imported(("pc2", 1, "10.0.0.2", ""), ("pc1", 2, "10.0.0.1", ""), ("pc3", 3, "", ""))
    before = root.json("client", "show", "pc2")["mac"]
    root.ok("migrate", "undo", "2")
    assert before == root.json("client", "show", "pc1")["mac"] == "00:1b:21:00:00:01"
    assert clients(root) == {"pc1": ("10.0.0.1", {}), "pc2": ("10.0.0.2", {})}


def test_image_of_an_old_disk_that_is_gone_is_an_obstacle(root, imported):
    imported(("pc1", 1, "", "a.img"))
    imported(("pc1", 1, "", "b.img"))
    root.ok("image", "remove", "a")
    refused(root, 2, "had a disk from an image that was removed")
    root.ok("client", "remove", "pc1")
    root.ok("migrate", "undo", "2")
    root.ok("migrate", "undo", "1")
    assert clients(root) == {} and root.json("image", "list")["images"] == []


def test_client_that_was_removed_is_no_obstacle(root, imported):
    imported(("pc1", 1, "", "a.img"), ("pc2", 2, "", ""))
    imported(("new", 1, "", "b.img"), ("pc2", 2, "", ""))
    root.ok("client", "remove", "new")
    root.ok("migrate", "undo", "2")
    assert clients(root) == {"pc2": (None, {})}
    assert imported(("new", 1, "", "b.img"), ("pc2", 2, "", ""))["counts"]["kept-local"] == 1, "what was removed here is not made again"


def test_later_import_of_other_clients_is_no_obstacle(root, imported):
    imported(("pc1", 1, "10.0.0.1", "a.img"))
    imported(("pc1", 1, "10.0.0.1", "a.img"), ("pc2", 2, "10.0.0.2", "b.img"))
    leases = root.files / "dnsmasq.leases"
    leases.write_text("1790000000 00:1b:21:00:00:03 10.0.0.3 pc3 *\n")
    root.ok("migrate", "leases", leases)
    root.ok("migrate", "undo", "1")
    assert clients(root) == {"pc2": ("10.0.0.2", {0: "b"}), "pc3": ("10.0.0.3", {})}
    report = imported(("pc1", 1, "10.0.0.1", "a.img"), ("pc2", 2, "10.0.0.2", "b.img"))
    assert (report["counts"]["imported"], report["counts"]["unchanged"]) == (1, 1)
    root.ok("migrate", "undo", "2")
    assert clients(root) == {"pc1": ("10.0.0.1", {0: "a"}), "pc3": ("10.0.0.3", {})}


def test_paths_that_a_later_import_has_too_are_still_known_after_an_undo(root, imported):
    imported(("pc1", 1, "", "nowhere.img"))
    imported(("pc1", 1, "", "nowhere.img"), ("pc2", 2, "", "nowhere.img"))
    root.ok("migrate", "undo", "1")
    report = imported(("pc2", 2, "", "nowhere.img"))
    assert report["counts"]["unchanged"] == 1


def test_later_import_that_met_or_changed_the_same_clients_is_an_obstacle(root, imported):
    imported(("pc1", 1, "10.0.0.1", "a.img"), ("pc2", 2, "", ""))
    leases = root.files / "dnsmasq.leases"
    leases.write_text("1790000000 00:1b:21:00:00:02 10.0.0.2 pc2 *\n")
    root.ok("migrate", "leases", leases)
    imported(("pc1", 1, "10.0.0.9", "a.img"), ("pc2", 2, "", ""))
    before = root.catalog_text()
    done = root.run("migrate", "undo", "1")
    assert done.returncode == 1 and "import 3 came later" in done.stderr and "import 2 came later" in done.stderr
    assert root.catalog_text() == before
    for number in (3, 2, 1):
        root.ok("migrate", "undo", number)
    assert clients(root) == {}


def test_log_says_how_much_an_undo_took_back(root, imported):
    imported(("pc1", 1, "", "a.img"))
    imported(("pc1", 1, "", "b.img"), ("pc2", 2, "", "b.img"))
    root.ok("migrate", "undo", "2")
    last = root.json("log")["log"][-1]
    assert (last["verb"], last["object"]) == ("import undo", "import 2")
    assert last["after"] == {"removed_clients": 1, "changed_clients": 1, "removed_images": 1}


def test_dry_run_of_an_undo_changes_no_file(root, imported):
    imported(("pc1", 1, "", "a.img"))
    (root.path / "run" / "import.lock").unlink()

    def files():
        return sorted((str(path), path.stat().st_mtime_ns) for path in root.path.rglob("*") if not path.name.startswith("catalog.db"))

    before = files(), root.catalog_text()
    assert root.json("migrate", "undo", "1", "-n") == {"import": 1, "is_dry_run": True}
    assert (files(), root.catalog_text()) == before
