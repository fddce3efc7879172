# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup restore`: what comes back is what went in, a disk at a time or a whole root onto a bare machine, and nothing else is lost by it."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from support.files import KIB, MIB, fallocate, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, make_image, make_vhd, put
from support.repository import Repository, flip_byte

SIZE = 16 * MIB
ODD = 5 * MIB + 300 * KIB + 512  # no multiple of a chunk


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.repository = Repository(root).init()
    return root


def restore(site, *args, status=0):
    """The summary, or the sentence of a failure."""
    done = site.repository.run("--json", "restore", site.repository.path, *args)
    assert done.returncode == status, f"{args} -> {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if status in (0, 3) else done.stderr.strip()


def write(site, client, data, offset, slot=0):
    put(site.view(client, slot), offset, data)


def punch(site, client, offset, length):
    fd = os.open(site.view(client), os.O_RDWR)
    fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
    os.fsync(fd)
    os.close(fd)


# --- one disk ----------------------------------------------------------------------------------------------------------


def test_disks_come_back_as_they_were(site):
    odd = make_image(site.files / "odd.raw", ODD, seed=3)
    vhd = make_vhd(make_image(site.files / "plain.raw", 4 * MIB, seed=4), site.files / "data.vhd")
    site.ok("image", "add", "odd", odd)
    site.ok("image", "add", "vhd", vhd, "--data")
    site.ok("up")
    write(site, "pc01", random.Random(1).randbytes(20000), 3 * MIB + 100)
    punch(site, "pc01", MIB, MIB + 8192)
    expected = site.view("pc01").read_bytes()
    site.repository.create()
    out = site.files / "out"
    out.mkdir()
    for disk, content in (("win", site.image.read_bytes()), ("odd@1", odd.read_bytes()), ("pc01", expected),
                          ("vhd", (site.files / "plain.raw").read_bytes())):
        summary = restore(site, "latest", disk, out)
        restored = out / os.path.basename(summary["path"])
        assert restored.read_bytes() == content, disk
        assert summary["checked_bytes"] == len(content)
    assert (out / "win-v1.img").stat().st_blocks * 512 < SIZE, "zeros are holes"
    assert sorted(p.name for p in out.iterdir()) == ["odd-v1.img", "pc01-disk0.img", "vhd-v1.img", "win-v1.img"]


def test_files_are_as_long_as_they_were(site):
    """A raw file that is no multiple of a sector, once more in place, by both ways of the script, exported; a client's disk is whole sectors."""
    content = random.Random(4).randbytes(3 * MIB + 100)
    odd = site.files / "odd.raw"
    odd.write_bytes(content)
    odd.chmod(0o644)
    site.ok("image", "add", "odd", odd)
    site.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "odd", "--mode", "kept")
    site.repository.create()
    site.repository.create()  # taken over from the set before
    out = site.files / "out.raw"
    assert restore(site, "latest", "odd", out)["size_bytes"] == len(content)
    assert out.read_bytes() == content
    with open(out, "r+b") as file:
        file.write(b"other")
    os.utime(out, (1, 1))
    restore(site, "latest", "odd", out)
    assert out.read_bytes() == content
    exported = site.files / "exported.raw"
    site.repository.ok("export", site.repository.path, "latest", "odd", exported)
    assert exported.read_bytes() == content
    disk = site.files / "disk.raw"
    restore(site, "latest", "pc02", disk)
    assert disk.read_bytes() == content + bytes(412)
    few = site.base / "few"  # the programs that the plain way needs
    few.mkdir()
    for name in ("sh", "dd", "zstd", "tar"):
        (few / name).symlink_to(shutil.which(name))
    for number, path in enumerate((os.environ["PATH"], str(few))):
        by_script = site.files / f"script{number}.raw"
        subprocess.run([shutil.which("sh"), str(site.repository.path / "restore.sh"), "latest", "odd@1", str(by_script)], check=True,
                       timeout=120, env={"PATH": path}, stdout=subprocess.DEVNULL)
        assert by_script.read_bytes() == content, path
    note = site.repository.path / "sets" / site.repository.last / "image-odd-1.file"
    note.write_text(note.read_text().replace("data 3", "data 4"))
    assert "image-odd-1.file" in restore(site, "latest", "odd", site.files / "none.raw", status=13)
    restore(site, "latest", "win", site.files / "win.raw")  # nobody else suffers for it


def test_vhd_comes_back_with_its_own_footer(site):
    """Its unique id is in it, which a parent locator of a differencing disk may name."""
    own = make_vhd(make_image(site.files / "plain.raw", 4 * MIB, seed=4), site.files / "data.vhd")
    content = own.read_bytes()
    site.ok("image", "add", "games", own, "--data")
    site.repository.create()
    into = site.base / "bare"
    restore(site, "latest", "--all", "--into", into)
    assert (into / "images" / "games" / "v1.vhd").read_bytes() == content
    older = site.repository.path / "sets" / site.repository.last  # of a program that did not keep it
    (older / "image-games-1.file").unlink()
    sums = older / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if "games-1.file" not in line))
    restore(site, "latest", "--all", "--into", site.base / "other")
    again = (site.base / "other" / "images" / "games" / "v1.vhd").read_bytes()
    assert again[:-512] == content[:-512] and again[-512:-504] == b"conectix"


def test_only_what_differs_is_written(site):
    site.repository.create()
    out = site.files / "out.raw"
    restore(site, "latest", "win", out)
    with open(out, "r+b") as file:
        file.seek(MIB)
        file.write(b"x")
        file.seek(768 * KIB)  # a hole of the image
        file.write(b"y" * 4096)
    summary = restore(site, "latest", "win", out, "--force")
    assert summary["written_bytes"] == 2 * 256 * KIB
    assert out.read_bytes() == site.image.read_bytes()


def test_newer_file_is_not_overwritten(site):
    site.repository.create()
    out = site.files / "out.raw"
    out.write_bytes(b"mine" * (SIZE // 4))
    future = time.time() + 100
    os.utime(out, (future, future))
    assert "newer than the set" in restore(site, "latest", "win", out, status=1)
    os.utime(out, (1, 1))
    out.write_bytes(b"mine")
    os.utime(out, (1, 1))
    assert "it is something else" in restore(site, "latest", "win", out, status=1)
    assert out.read_bytes() == b"mine"


def test_file_of_a_running_root_is_refused(site):
    site.repository.create()
    site.ok("up")
    before = site.image.read_bytes()
    assert "in use" in restore(site, "latest", "win", site.image, "--force", status=1)
    assert site.image.read_bytes() == before
    assert sorted(p.name for p in site.files.iterdir()) == ["base.raw"]


def test_damaged_chunk_stops_a_restore(site):
    site.repository.create()
    flip_byte(site.repository.packs()[0])
    out = site.files / "out.raw"
    assert "damaged" in restore(site, "latest", "win", out, status=13)
    assert not out.exists(), "what is not whole does not get the name"


def test_damaged_list_of_one_disk_keeps_no_other_one_back(site):
    other = make_image(site.files / "other.raw", MIB)
    site.ok("image", "add", "other", other)
    site.repository.create()
    with open(site.repository.path / "sets" / site.repository.last / "image-win-1.manifest.zst", "ab") as file:
        file.write(b"x")
    out = site.files / "out.raw"
    restore(site, "latest", "other", out)
    assert out.read_bytes() == other.read_bytes()
    assert "image-win-1.manifest.zst" in restore(site, "latest", "win", site.files / "none.raw", status=13)
    assert "image-win-1.manifest.zst" in restore(site, "latest", "pc01", site.files / "none.raw", status=13)
    script = ["sh", str(site.repository.path / "restore.sh"), "latest"]
    subprocess.run([*script, "other@1", str(site.files / "by-script.raw")], check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert (site.files / "by-script.raw").read_bytes() == other.read_bytes()
    assert subprocess.run([*script, "win@1", str(site.files / "none.raw")], timeout=60, stderr=subprocess.DEVNULL).returncode == 1


def test_bad_words_get_a_sentence(site):
    site.repository.create()
    out = site.files / "out.raw"
    assert "1999" in restore(site, "1999", "win", out, status=1)
    assert "has no 'nix'" in restore(site, "latest", "nix", out, status=1)
    assert "inside of the repository" in restore(site, "latest", "win", site.repository.path / "x", status=1)
    done = site.repository.run("restore", site.files, "latest", "win", out)
    assert done.returncode == 10 and len(done.stderr.splitlines()) == 1
    assert not out.exists()


def test_full_disk_is_told_before_anything_is_written(site):
    small = site.base / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=True)
    try:
        site.repository.create()
        assert "MiB free" in restore(site, "latest", "win", small / "out.raw", status=14)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_killed_restore_goes_on(site):
    site.repository.create()
    out = site.files / "out.raw"
    partial = site.files / "out.raw.partial"
    for delay in (0.01, 0.03, 0.05, 0.08):
        job = subprocess.Popen(site.repository.command("restore", site.repository.path, "latest", "win", out), stdout=subprocess.DEVNULL)
        time.sleep(delay)
        job.send_signal(signal.SIGKILL)
        job.wait()
        if out.exists():
            assert out.read_bytes() == site.image.read_bytes() and not partial.exists()
            out.unlink()
    summary = restore(site, "latest", "win", out)
    assert out.read_bytes() == site.image.read_bytes() and not partial.exists()
    assert summary["written_bytes"] + summary["equal_bytes"] > 0


# --- a whole root ------------------------------------------------------------------------------------------------------


def move_to(site, path):
    """The restored root takes the place of the old one, with its ports."""
    site.ok("down")
    shutil.rmtree(site.path)
    site.path, site.mnt = path, path / "run" / "mnt"


def without_hashes(dump):
    """A restore records the hash of each image, which a dump holds where it is known."""
    return json.loads(dump, object_hook=lambda row: {key: value for key, value in row.items() if key != "full_hash"})


def test_bare_machine_gets_everything_back(site):
    own = make_vhd(make_image(site.files / "plain.raw", 4 * MIB, seed=4), site.files / "data.vhd")
    site.ok("image", "add", "games", own, "--data", "--copy")
    odd = make_image(site.files / "odd.raw", ODD, seed=3)
    site.ok("image", "add", "odd", odd)
    site.ok("client", "link", "pc01", "games", "--slot", "1")
    site.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "odd", "--mode", "kept")
    site.ok("client", "add", "guest", "--mac", "52:54:00:00:00:03", "--image", "win")
    site.ok("up")
    write(site, "pc01", random.Random(1).randbytes(20000), 3 * MIB + 100)
    write(site, "pc01", b"end", SIZE - 3)
    punch(site, "pc01", MIB, MIB + 8192)
    write(site, "pc01", b"game" * 5000, 12345, slot=1)
    expected = {(c, s): site.view(c, s).read_bytes() for c, s in (("pc01", 0), ("pc01", 1), ("pc02", 0), ("guest", 0))}
    site.repository.create()
    write(site, "pc01", b"later", 0)
    dump = site.ok("dump")
    into = site.base / "bare"
    summary = restore(site, "latest", "--all", "--into", into, "--map-path", f"{site.files}={site.base}/elsewhere")
    assert summary["versions"] == 3 and summary["overlays"] == 3 and summary["missing"] == 0
    assert (site.base / "elsewhere" / "base.raw").read_bytes() == site.image.read_bytes()
    assert (site.base / "elsewhere" / "odd.raw").read_bytes() == odd.read_bytes()
    assert not (into / ".restore").exists()
    blocks = (into / "overlays" / "pc01" / "0.data").stat().st_blocks * 512
    assert blocks < 100 * KIB, "an overlay does not grow by its restore"
    for path in site.files.iterdir():
        path.unlink()
    move_to(site, into)
    site.ok("up")
    for (client, slot), content in expected.items():
        assert site.view(client, slot).read_bytes() == content, f"{client} {slot}"
    assert site.disk("pc01").read_all() == expected["pc01", 0], "over iSCSI"
    assert without_hashes(site.ok("dump").replace("elsewhere", "files")) == without_hashes(dump)
    write(site, "pc01", b"goes on", 0)
    site.ok("down")
    site.ok("up")
    assert site.view("pc01").read_bytes()[:7] == b"goes on"


def test_adopted_images_go_into_the_root_without_a_map(site):
    site.repository.create()
    into = site.base / "bare"
    restore(site, "latest", "--all", "--into", into)
    assert (into / "images" / "win" / "v1.raw").read_bytes() == site.image.read_bytes()
    move_to(site, into)
    site.image.unlink()
    site.ok("up")
    assert site.view("pc01").read_bytes() == (into / "images" / "win" / "v1.raw").read_bytes()


def test_killed_restore_of_a_root_is_no_root_and_goes_on(site):
    site.ok("up")
    write(site, "pc01", random.Random(1).randbytes(MIB), 3 * MIB)
    expected = site.view("pc01").read_bytes()
    site.repository.create()
    into = site.base / "bare"
    words = site.repository.command("restore", site.repository.path, "latest", "--all", "--into", into)
    for delay in (0.01, 0.03, 0.06, 0.1):
        job = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        job.send_signal(signal.SIGKILL)
        job.wait()
        if (into / "catalog.db").exists():
            break
        up = subprocess.run([str(site.programs.diskgate), "--root", str(into), "up"], capture_output=True, text=True, timeout=60)
        assert up.returncode == 1, "half a root is none"
    restore(site, "latest", "--all", "--into", into) if not (into / "catalog.db").exists() or (into / ".restore").exists() else None
    move_to(site, into)
    site.ok("up")
    assert site.view("pc01").read_bytes() == expected


def test_folder_of_others_is_refused(site):
    site.repository.create()
    assert "a Diskgate root already" in restore(site, "latest", "--all", "--into", site.path, status=1)
    assert "holds other files" in restore(site, "latest", "--all", "--into", site.files, status=1)


def test_what_a_set_lacks_is_named(site):
    other = make_image(site.files / "other.raw", MIB, seed=5)
    site.ok("image", "add", "other", other)
    site.repository.create("win")
    done = site.repository.run("restore", site.repository.path, "latest", "--all", "--into", site.base / "bare")
    assert done.returncode == 3
    assert "image 'other' version 1 is not in the set" in done.stderr
    assert "what client 'pc01' kept" in done.stderr


# --- export ------------------------------------------------------------------------------------------------------------


def test_export_is_the_disk_in_another_format(site):
    site.repository.create()
    out = site.files / "out.qcow2"
    site.repository.ok("export", site.repository.path, "latest", "win", out, "--format", "qcow2")
    done = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", str(out), str(site.image)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name for p in site.files.iterdir()) == ["base.raw", "out.qcow2"]
    assert out.stat().st_uid == 0
    done = site.repository.run("export", site.repository.path, "latest", "win", out, "--format", "qcow2")
    assert done.returncode == 1 and "there already" in done.stderr
    raw = site.files / "out.raw"
    site.repository.ok("export", site.repository.path, "latest", "win", raw)
    assert raw.read_bytes() == site.image.read_bytes()
