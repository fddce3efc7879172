# SPDX-License-Identifier: GPL-2.0-or-later
"""Signed sets: whoever can write to the repository can make no set that holds for the owner's key."""

import hashlib
import subprocess

import pytest
from support import system
from support.files import MIB, make_image
from support.repository import Repository


def make_key(folder, name):
    private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(private)], check=True, timeout=60)
    subprocess.run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)], check=True, timeout=60)
    return private, public


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "base.raw", 4 * MIB)
    root.other = make_image(root.files / "other.raw", 4 * MIB, seed=2)
    root.ok("image", "add", "win", root.image)
    root.ok("image", "add", "other", root.other)
    root.private, root.public = make_key(root.files, "mine")
    root.repository = Repository(root).init("--no-reserve")
    root.repository.create("--sign", root.private)
    root.folder = root.repository.path / "sets" / root.repository.last
    root.out = root.base / "out.raw"
    return root


def everything(site, key, status):
    """Restore of a disk, of a root, export and verify agree; what was refused left nothing. Returns what they said."""
    said = []
    for words in (("restore", site.repository.path, "latest", "win", site.out), ("export", site.repository.path, "latest", "win", site.out),
                  ("restore", site.repository.path, "latest", "--all", "--into", site.base / "bare"), ("verify", site.repository.path)):
        done = site.repository.run(*words, "--key", key)
        assert done.returncode == status, f"{words} -> {done.returncode}\n{done.stdout}{done.stderr}"
        said.append(done.stdout + done.stderr)
        if status:
            assert not (site.base / "bare" / "catalog.db").exists()
            assert not site.out.exists() and not list(site.base.glob("out.raw*")), words
        else:
            site.out.unlink(missing_ok=True)
    return "\n".join(said)


def resum(folder, name):
    """SHA256SUMS says that the file @name is as it should be."""
    lines = []
    for line in (folder / "SHA256SUMS").read_text().splitlines(True):
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        lines.append(f"{digest}{line[64:]}" if line.rstrip("\n").endswith(f" {name}") else line)
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_own_signature_holds(site):
    everything(site, site.public, 0)


def test_openssl_alone_can_check_it(site):
    subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(site.public), "-rawin", "-in", str(site.folder / "SHA256SUMS"),
                    "-sigfile", str(site.folder / "SHA256SUMS.sig")], check=True, timeout=60, stdout=subprocess.DEVNULL)


def test_signature_of_somebody_else_does_not_hold(site):
    _, other = make_key(site.files, "other")
    assert "does not hold" in everything(site, other, 12)


def test_set_without_a_signature_does_not_hold(site):
    (site.folder / "SHA256SUMS.sig").unlink()
    assert "no signature" in everything(site, site.public, 12)
    site.repository.ok("verify", site.repository.path)  # nobody asked for one


def test_signature_that_is_cut_off_does_not_hold(site):
    sig = site.folder / "SHA256SUMS.sig"
    sig.write_bytes(sig.read_bytes()[:63])
    everything(site, site.public, 12)


def test_manifest_of_another_disk_in_its_place(site):
    """Both are whole manifests of the same repository; with and without new check sums."""
    text = subprocess.run(["zstd", "-dc", str(site.folder / "image-other-1.manifest.zst")], capture_output=True, check=True, timeout=60).stdout
    fields = text.replace(b"name other\n", b"name win\n").split(b"end ")
    subprocess.run(["zstd", "-q", "-f", "-o", str(site.folder / "image-win-1.manifest.zst")], input=b"end ".join(fields), check=True, timeout=60)
    assert "image-win-1.manifest.zst" in everything(site, site.public, 13)
    resum(site.folder, "image-win-1.manifest.zst")
    assert "does not hold" in everything(site, site.public, 12)


def test_set_text_that_was_changed(site):
    text = site.folder / "set.txt"
    text.write_text(text.read_text().replace("time 1", "time 2"))
    resum(site.folder, "set.txt")
    done = site.repository.run("restore", site.repository.path, "latest", "win", site.out, "--key", site.public)
    assert done.returncode in (12, 13) and not site.out.exists()


def test_signature_of_another_set_does_not_hold(site):
    before = (site.folder / "SHA256SUMS.sig").read_bytes()
    site.repository.create("--sign", site.private)
    (site.repository.path / "sets" / site.repository.last / "SHA256SUMS.sig").write_bytes(before)
    done = site.repository.run("restore", site.repository.path, site.repository.last, "win", site.out, "--key", site.public)
    assert done.returncode == 12 and not site.out.exists()


def test_keys_that_are_none(site):
    """One sentence, and nothing was made."""
    text = site.files / "text"
    text.write_text("no key\n")
    rsa = site.files / "rsa.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", str(rsa)], check=True, timeout=120, stderr=subprocess.DEVNULL)
    locked = site.files / "locked.pem"
    subprocess.run(["openssl", "pkey", "-in", str(site.private), "-aes256", "-passout", "pass:x", "-out", str(locked)], check=True, timeout=60)
    sets = site.repository.sets()
    for key, status in ((site.files / "missing", 1), (text, 12), (rsa, 12), (locked, 12), (site.public, 12)):
        done = site.repository.run("create", site.repository.path, "--sign", key)
        assert done.returncode == status and len(done.stderr.splitlines()) == 1 and str(key) in done.stderr, done.stderr
    assert site.repository.sets() == sets
    for key, status in ((site.files / "missing", 1), (text, 12), (site.private, 12)):
        assert str(key) in everything(site, key, status)


# --- mount -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def point(site):
    folder = site.base / "point"
    folder.mkdir()
    yield folder
    subprocess.run(["umount", str(folder)], check=False, timeout=30, capture_output=True)
    system.wait_until(lambda: not any("diskgate-backup" in c for c in system.processes_of(str(site.base)).values()), what="the end")


def test_only_signed_sets_are_mounted(site, point):
    """What is swapped after the mount is not shown either, signed or not."""
    _, other = make_key(site.files, "other")
    words = ("mount", site.repository.path, "latest", point, "--log", site.base / "log")
    assert site.repository.run(*words, "--key", other).returncode == 12 and not point.is_mount()
    assert site.repository.run(*words, "--key", site.files / "missing").returncode == 1 and not point.is_mount()
    site.repository.ok(*words, "--key", site.public)
    assert (point / "win" / "v1" / "disk.img").read_bytes() == site.image.read_bytes()
    text = subprocess.run(["zstd", "-dc", str(site.folder / "image-win-1.manifest.zst")], capture_output=True, check=True, timeout=60).stdout
    swapped = text.replace(b"name win\n", b"name other\n")  # as good as any: no chunk of it is missing
    subprocess.run(["zstd", "-q", "-f", "-o", str(site.folder / "image-other-1.manifest.zst")], input=swapped, check=True, timeout=60)
    resum(site.folder, "image-other-1.manifest.zst")
    with pytest.raises(OSError):
        (point / "other" / "v1" / "disk.img").read_bytes()
    assert "does not hold" in (site.base / "log").read_text()


def test_manifest_that_is_not_the_sets_own_is_not_shown(site, point):
    """Without a key as well: it does not fit SHA256SUMS."""
    site.repository.create()
    first = site.folder
    later = site.repository.path / "sets" / site.repository.last
    site.repository.ok("mount", site.repository.path, point, "--log", site.base / "log")
    name = "image-win-1.manifest.zst"
    text = subprocess.run(["zstd", "-dc", str(first / name)], capture_output=True, check=True, timeout=60).stdout
    subprocess.run(["zstd", "-q", "-f", "-19", "-o", str(later / name)], input=text, check=True, timeout=60)
    with pytest.raises(OSError):
        (point / later.name / "win" / "v1" / "disk.img").read_bytes()
    assert (point / first.name / "win" / "v1" / "disk.img").read_bytes() == site.image.read_bytes()
