# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration as a file: dump and apply, through the command line."""

import json
import os
import random
import stat
import subprocess

import pytest
from support import system
from support.files import KIB, MIB, make_image
from support.stranger import as_stranger

MODES = ("volatile", "kept")


@pytest.fixture
def site(root):
    for number, name in enumerate(("win", "games", "tools")):
        make_image(root.files / f"{name}.raw", MIB, seed=number + 1)
        root.ok("image", "add", name, root.files / f"{name}.raw", *(["--data"] if name == "games" else []))
    root.ok("client", "add", "pc1", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("client", "add", "pc2", "--mac", "52:54:00:00:00:02", "--image", "win@1", "--mode", "kept", "--group", "room")
    root.ok("client", "link", "pc2", "games", "--slot", "2")
    return root


def load(root, *options):
    return json.loads(root.ok("dump", *options))


def store(root, config, name="site.json"):
    path = root.files / name
    path.write_text(json.dumps(config))
    return path


def apply(root, config, *options, status=0):
    done = root.run("apply", store(root, config), *options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines()


def client(config, name):
    return next(row for row in config["clients"] if row["name"] == name)


# --- dump ---


def test_dump_is_the_same_text_each_time_and_hides_secrets(site):
    text = site.ok("dump")
    assert text == site.ok("dump") == site.ok("--json", "dump")
    config = json.loads(text)
    assert (config["format"], config["version"]) == ("diskgate-config", 1)
    assert config["settings"] == {"boot.port": str(site.boot_port), "gateway.port": str(site.port), "gateway.watch_s": "0"}
    assert "chap" not in text
    secret = client(load(site, "--secrets"), "pc1")["chap_password"]
    assert len(secret) == 16


def test_apply_of_its_own_dump_changes_nothing(site):
    before = site.catalog_text()
    for options in ((), ("--secrets",)):
        config = load(site, *options)
        assert "no difference" in apply(site, config)[-1]
        apply(site, config, "-n")
    assert site.catalog_text() == before


def test_dump_applied_to_an_empty_root_dumps_the_same(site, make_root):
    other = make_root()
    wanted = site.ok("dump", "--secrets")
    path = site.files / "all.json"
    path.write_text(wanted)
    assert other.run("apply", path, "-n").returncode == 3
    assert json.loads(other.ok("dump"))["clients"] == []
    other.ok("apply", path)
    assert other.ok("dump", "--secrets") == wanted
    assert "no difference" in other.ok("apply", path)


# --- the difference ---


def test_difference_is_shown_in_plain_lines(site):
    config = load(site)
    client(config, "pc1")["mode"] = "kept"
    config["clients"].remove(client(config, "pc2"))
    config["clients"].append({"name": "pc3", "mac": "52-54-00-00-00-03"})
    config["settings"]["auth.chap"] = "off"
    before = site.catalog_text()
    lines = apply(site, config, "-n", status=3)
    for line in ("+ client pc3 (52:54:00:00:00:03)", "~ client pc1 mode volatile -> kept", "- client pc2", "~ setting auth.chap on -> off"):
        assert line in lines, lines
    assert site.catalog_text() == before
    assert apply(site, config)[:-1] == lines[:-1]
    assert "no difference" in apply(site, config)[-1]


def test_clients_exchange_macs_addresses_and_secrets(site):
    site.ok("client", "set", "pc1", "--ip", "10.0.0.1")
    site.ok("client", "set", "pc2", "--ip", "10.0.0.2")
    config = load(site, "--secrets")
    one, two = config["clients"]
    for key in ("mac", "ip", "chap_user", "chap_password"):
        one[key], two[key] = two[key], one[key]
    apply(site, config)
    assert load(site, "--secrets") == config


def test_renamed_things_keep_their_overlays(site):
    before = {row["client"]: row["overlay_id"] for row in site.json("overlay", "list")["overlays"]}
    config = load(site)
    client(config, "pc1")["name"] = "desk-1"
    config["images"][-1]["name"] = "windows"
    for row in config["clients"]:
        row["links"][0]["image"] = "windows"
    lines = apply(site, config)
    assert "~ client pc1 name -> desk-1" in lines and "~ image win name -> windows" in lines
    after = {row["client"]: row["overlay_id"] for row in site.json("overlay", "list")["overlays"]}
    assert after == {{"pc1": "desk-1"}.get(name, name): uuid for name, uuid in before.items()}


def test_kind_and_boot_disk_change_together(site):
    config = load(site)
    for row in config["images"]:
        row["kind"] = {"win": "data", "games": "boot"}.get(row["name"], "boot")
    for row in config["clients"]:
        row["links"] = [{"slot": 0, "image": "games"}, {"slot": 1, "image": "win"}]
    apply(site, config)
    assert "no difference" in apply(site, config)[-1]


# --- images and their files ---


def test_missing_or_different_image_file_changes_nothing(site, make_root):
    config = load(site)
    other = make_root()
    before = other.catalog_text()
    os.rename(site.files / "games.raw", site.files / "away.raw")
    path = store(site, config)
    assert "games.raw" in other.fails("apply", path)
    make_image(site.files / "games.raw", MIB, seed=9)
    assert "not what is recorded" in other.fails("apply", path)
    assert other.catalog_text() == before
    os.rename(site.files / "away.raw", site.files / "games.raw")
    other.ok("apply", path)


def test_other_content_under_an_images_name_is_refused(site):
    config = load(site)
    config["images"][0]["versions"][0]["identity"] = config["images"][1]["versions"][0]["identity"]
    before = site.catalog_text()
    assert "games" in site.fails("apply", store(site, config))
    assert site.catalog_text() == before


def test_image_file_that_moved_is_found_at_its_new_path(site):
    os.rename(site.files / "tools.raw", site.files / "moved.raw")
    config = load(site)
    config["images"][1]["versions"][0]["path"] = str(site.files / "moved.raw")
    assert any(line.startswith("~ image tools@1 path ") for line in apply(site, config))
    assert site.json("image", "show", "tools")["state"] == "ok"


def test_removed_copy_in_the_root_needs_force(site):
    site.ok("image", "add", "own", site.files / "tools.raw", "--copy")
    file = site.path / "images" / "own" / "v1.raw"
    config = load(site)
    config["images"] = [row for row in config["images"] if row["name"] != "own"]
    assert any(line.startswith("! image own") for line in apply(site, config, status=1))
    assert file.exists()
    apply(site, config, "--force")
    assert not file.exists()


def test_dry_run_deletes_no_file(site):
    site.ok("image", "add", "own", site.files / "tools.raw", "--copy")
    config = load(site)
    config["images"] = [row for row in config["images"] if row["name"] != "own"]
    apply(site, config, "-n", "--force", status=3)
    assert (site.path / "images" / "own" / "v1.raw").exists()


# --- what is lost ---


def test_kept_changes_and_running_clients_need_force(site):
    site.ok("up", timeout=120)
    disk = site.disk("pc2")
    disk.write(b"k" * 64 * KIB, 0)
    config = load(site)
    gone = json.loads(json.dumps(config))
    gone["clients"].remove(client(gone, "pc2"))
    relinked = json.loads(json.dumps(config))
    client(relinked, "pc2")["links"][0] = {"slot": 0, "image": "tools"}
    unlinked = json.loads(json.dumps(config))
    client(unlinked, "pc2")["links"] = []
    loose = json.loads(json.dumps(config))
    client(loose, "pc2")["mode"] = "volatile"
    before = site.catalog_text()
    for wanted in (gone, relinked, unlinked, loose):
        done = site.run("apply", store(site, wanted))
        assert done.returncode == 1 and "--force" in done.stderr, done.stdout + done.stderr
        assert any(line.startswith("! client pc2 slot 0: 64 KiB of kept changes") for line in done.stdout.splitlines()), done.stdout
    assert site.catalog_text() == before
    follows = json.loads(json.dumps(config))
    client(follows, "pc2")["links"][0].pop("version")
    apply(site, follows)  # the same version: the overlay stays
    assert disk.read_all()[: 64 * KIB] == b"k" * 64 * KIB
    apply(site, gone, "--force")
    assert [row["client"] for row in site.targets()] == ["pc1"]


def test_running_client_keeps_its_disk_without_force(site):
    site.ok("up", timeout=120)
    url = site.disk("pc1").url
    initiator = subprocess.Popen(["qemu-io", "-f", "raw", url], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        system.wait_until(lambda: site.target("pc1")["sessions"], what="the session")
        config = load(site)
        gone = {**config, "clients": [client(config, "pc2")]}
        other = json.loads(json.dumps(config))
        client(other, "pc1")["mode"] = "kept"
        for wanted in (gone, other):
            done = site.run("apply", store(site, wanted))
            assert done.returncode == 1 and "is running now" in done.stderr, done.stdout + done.stderr
        assert load(site) == config
        apply(site, gone, "--force")
    finally:
        initiator.kill()
        initiator.wait(timeout=30)
    assert [row["client"] for row in site.targets()] == ["pc2", "pc2"]


# --- the strict reader ---


def bad_files():
    def edit(change):
        def make(config):
            change(config)
            return json.dumps(config)

        return make

    first = lambda c: c["clients"][0]  # noqa: E731
    return {
        "no JSON": (lambda c: "{,}", "line 1"),
        "other format": (edit(lambda c: c.update(format="tar")), "diskgate-config"),
        "newer version": (edit(lambda c: c.update(version=2)), "version 2"),
        "no list of clients": (edit(lambda c: c.pop("clients")), "clients"),
        "unknown key": (edit(lambda c: c.update(colour=1)), "colour"),
        "unknown key of a client": (edit(lambda c: first(c).update(colour=1)), "clients[0].colour"),
        "unknown key of a link": (edit(lambda c: first(c)["links"][0].update(colour=1)), "clients[0].links[0].colour"),
        "key twice": (lambda c: '{"format": "diskgate-config", "format": "x"}', "duplicate"),
        "bad MAC": (edit(lambda c: c["clients"][1].update(mac="52:54")), "clients[1].mac"),
        "MAC is a number": (edit(lambda c: first(c).update(mac=5)), "clients[0].mac"),
        "MAC twice": (edit(lambda c: first(c).update(mac="5254.0000.0002")), "clients[1].mac"),
        "name twice": (edit(lambda c: first(c).update(name="PC2")), "clients[1].name"),
        "bad mode": (edit(lambda c: first(c).update(mode="often")), "clients[0].mode"),
        "bad address": (edit(lambda c: first(c).update(ip="10.0.0.300")), "clients[0].ip"),
        "bad slot": (edit(lambda c: first(c)["links"][0].update(slot=32)), "clients[0].links[0].slot"),
        "negative slot": (edit(lambda c: first(c)["links"][0].update(slot=-1)), "clients[0].links[0].slot"),
        "slot twice": (edit(lambda c: first(c)["links"].append(first(c)["links"][0])), "clients[0].links[1].slot"),
        "unknown image": (edit(lambda c: first(c)["links"][0].update(image="nope")), "clients[0].links[0].image"),
        "unknown version": (edit(lambda c: first(c)["links"][0].update(version=7)), "clients[0].links[0].version"),
        "boot from data": (edit(lambda c: first(c)["links"][0].update(image="games")), "clients[0].links[0].slot"),
        "short password": (edit(lambda c: first(c).update(chap_user="a", chap_password="short")), "clients[0].chap_password"),
        "user alone": (edit(lambda c: first(c).update(chap_user="a")), "clients[0].chap_password"),
        "unknown setting": (edit(lambda c: c["settings"].update(colour="1")), "settings.colour"),
        "bad setting": (edit(lambda c: c["settings"].update({"auth.chap": "maybe"})), "settings.auth.chap"),
        "setting is a number": (edit(lambda c: c["settings"].update({"gateway.port": 1})), "settings.gateway.port"),
        "image without versions": (edit(lambda c: c["images"][0].update(versions=[])), "images[0].versions"),
        "image without a path": (edit(lambda c: c["images"][0]["versions"][0].pop("path")), "images[0].versions[0].path"),
        "path climbs out": (edit(lambda c: c["images"][0]["versions"][0].update(path="images/../../x")), "images[0].versions[0].path"),
        "same path twice": (
            edit(lambda c: c["images"][1]["versions"][0].update(path=c["images"][0]["versions"][0]["path"])),
            "images[1].versions",
        ),
        "bad kind": (edit(lambda c: c["images"][0].update(kind="floppy")), "images[0].kind"),
        "second version": (
            edit(lambda c: c["images"][0]["versions"].append({"version": 2, "path": "/x"})),
            "version 2",
        ),
        "own file as an image": (
            edit(lambda c: c["images"].append({"name": "x", "versions": [{"path": "{root}/catalog.db"}]})),
            "catalog.db",
        ),
    }


def test_bad_files_are_refused_by_the_place(site):
    before = site.catalog_text()
    faults = []
    for name, (make, place) in bad_files().items():
        path = site.files / "bad.json"
        path.write_text(make(load(site)).replace("{root}", str(site.path)))
        done = site.run("apply", path)
        if done.returncode != 1 or len(done.stderr.splitlines()) != 1 or place not in done.stderr:
            faults.append(f"{name}: {done.returncode} {done.stdout!r} {done.stderr!r}")
    assert not faults, "\n".join(faults)
    assert site.catalog_text() == before


# --- random sites ---


def random_config(source, files, secrets=None):
    names = source.sample(range(8), source.randint(1, 6))
    images = []
    for number in sorted(names):
        image = {"name": f"image{number}", "kind": source.choice(("boot", "data")), "versions": [{"path": str(files[number])}]}
        if source.random() < 0.5:
            image["comment"] = source.choice(("büro", "a b c", "“quoted”"))
        images.append(image)
    boots = [row["name"] for row in images if row["kind"] == "boot"]
    clients = []
    for number in source.sample(range(12), source.randint(0, 10)):
        row = {"name": f"pc{number}", "mac": f"52:54:00:00:01:{number:02x}", "mode": source.choice(MODES), "links": []}
        if source.random() < 0.3:
            row["ip"] = f"10.1.0.{number + 1}"
        if source.random() < 0.3:
            row["group"] = source.choice(("room1", "room2"))
        for slot in source.sample(range(16), source.randint(0, 3)):
            choice = source.choice(images)["name"] if slot else source.choice(boots or [None])
            if choice:
                row["links"].append({"slot": slot, "image": choice, **({"version": 1} if source.random() < 0.5 else {})})
        clients.append(row)
    macs = [row["mac"] for row in clients]
    source.shuffle(macs)
    for row, mac in zip(clients, macs):
        row["mac"] = mac
    settings = {}
    if source.random() < 0.5:
        shards = source.randint(1, 64)
        settings = {"gateway.shards": str(shards), "gateway.port": str(source.choice((1024, 65536 - shards)))}
    return {"format": "diskgate-config", "version": 1, "settings": settings, "images": images, "clients": clients}


def test_random_sites_converge_and_go_round(make_root):
    seed = int(os.environ.get("DISKGATE_SEED", "0")) or random.randrange(1, 1 << 30)
    source = random.Random(seed)
    root = make_root()
    copy = make_root()
    files = [make_image(root.files / f"{n}.raw", 64 * KIB + n * 512, seed=n) for n in range(8)]
    for step in range(12):
        config = random_config(source, files)
        told = f"seed {seed} step {step}"
        done = root.run("apply", store(root, config), "--force")
        assert done.returncode == 0, f"{told}: {done.stdout}{done.stderr}"
        again = root.run("apply", store(root, config), "-n")
        assert again.returncode == 0 and "no difference" in again.stdout, f"{told}: {again.stdout}{again.stderr}"
        wanted = root.ok("dump", "--secrets")
        (root.files / "all.json").write_text(wanted)
        copy.ok("apply", root.files / "all.json", "--force")
        assert copy.ok("dump", "--secrets") == wanted, told


def test_dump_of_secrets_is_for_root_only(site):
    site.base.chmod(stat.S_IRWXU | 0o055)
    done = as_stranger(site.command("dump", "--secrets"))
    assert done.returncode == 1 and "root" in done.stderr
