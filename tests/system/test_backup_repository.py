# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository of backups through the command line: bad input with its exit status, a full disk, pins, the manual."""

import fcntl
import json
import os
import re
import shutil
import subprocess

import pytest
from test_docs import verbs_of_the_manual

GOLDEN = "tests/data/backup-v1"


@pytest.fixture
def backup(programs):
    """A function that runs `diskgate backup ...`."""
    environment = {**os.environ, "PATH": f"{programs.build / 'backup'}:{os.environ['PATH']}"}

    def run(*args, status=0):
        done = subprocess.run(
            [str(programs.diskgate), "--json", "backup", *map(str, args)], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == status, f"{args} -> {done.returncode}\n{done.stdout}{done.stderr}"
        if status == 0:
            assert done.stderr == ""
            return json.loads(done.stdout)
        assert len(done.stderr.splitlines()) >= 1 and done.stderr.startswith("diskgate-backup: "), done.stderr
        return done.stderr

    return run


@pytest.fixture
def golden(repository, tmp_path):
    """A copy of the golden repository, with one set."""
    return shutil.copytree(repository / GOLDEN, tmp_path / "repo")


def test_manual_has_the_verbs_and_options_of_diskgate_backup(programs, repository):
    table = subprocess.run([str(programs.build / "backup" / "diskgate-backup"), "--list-verbs"], check=True, capture_output=True, text=True, timeout=30)
    real = {}
    for line in table.stdout.splitlines():
        verb, arguments, options = line.split("\t")
        real[verb] = (re.sub(r"[\[\]]", "", arguments).split(), {option.rstrip("=") for option in options.split()})
    assert verbs_of_the_manual((repository / "docs" / "man" / "diskgate-backup.8").read_text()) == real


def test_init_and_list(backup, tmp_path):
    backup("init", tmp_path / "repo", "--chunk", "64k")
    assert backup("list", tmp_path / "repo")["sets"] == []
    assert (tmp_path / "repo" / "reserve").stat().st_blocks * 512 >= 64 << 20
    assert "already" in backup("init", tmp_path / "repo", status=1)
    assert "64k" in backup("init", tmp_path / "other", "--chunk", "100k", status=1)
    assert not (tmp_path / "other").exists()


def test_show_tells_what_is_in_the_golden_set(backup, golden):
    (row,) = backup("list", golden)["sets"]
    assert (row["state"], row["streams"], row["comment"]) == ("good", ["win11@1", "pc01:0", "catalog"], "golden")
    shown = backup("show", golden, row["set"][:12])
    streams = {stream["stream"]: stream for stream in shown["streams"]}
    assert streams["win11@1"]["chunks"] == 7
    assert (streams["pc01:0"]["chunks"], streams["pc01:0"]["inherited_chunks"], streams["pc01:0"]["backing"]) == (1, 6, "win11@1")


def test_bad_input_has_its_exit_status(backup, golden, tmp_path):
    set_id = backup("list", golden)["sets"][0]["set"]
    assert "is its disk mounted?" in backup("list", tmp_path / "none", status=10)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter").write_text("x")
    assert "no backup repository" in backup("list", tmp_path / "foreign", status=10)
    assert "not empty" in backup("init", tmp_path / "foreign", status=1)
    assert "none is called" in backup("show", golden, "2031", status=1)
    backup("prune", golden, status=1)  # without a rule
    backup("prune", golden, "--keep-last", "x", status=2)
    assert "--force" in backup("remove", golden, set_id, status=1)
    text = (golden / "format").read_text()
    (golden / "format").write_text(text.replace("diskgate 1", "diskgate 9"))
    assert "version 9" in backup("list", golden, status=1)
    (golden / "format").write_text("?" * 40)
    assert "repair" in backup("list", golden, status=13)
    (golden / "format").unlink()
    backup("list", golden, status=13)
    assert backup("repair", golden)["repaired"]
    assert (golden / "format").read_text().splitlines()[:4] == text.splitlines()[:4]
    manifest = golden / "sets" / set_id / "image-win11-1.manifest.zst"
    manifest.write_bytes(manifest.read_bytes()[:-3])
    backup("show", golden, set_id, status=13)
    (golden / "sets" / set_id / "set.txt").unlink()
    backup("list", golden, status=13)
    assert "nothing was deleted" in backup("prune", golden, "--keep-last", "1", status=13)


def test_lost_pack_is_said_by_list(backup, golden):
    pack = next((golden / "packs").rglob("*.tar.zst"))
    pack.rename(golden / "kept")
    said = backup("list", golden, status=13)
    assert pack.name[:23] in said and "verify" in said
    (golden / "kept").rename(pack)
    backup("list", golden)


def test_prune_keeps_pins_and_says_why(backup, golden):
    row = backup("list", golden)["sets"][0]
    backup("pin", golden, "latest")
    assert "pinned" in backup("remove", golden, row["set"], "--force", status=1)
    kept = backup("prune", golden, "-n", "--keep-last", "1")
    assert kept["sets"][0]["why"].startswith("pinned")
    backup("unpin", golden, "latest")
    assert backup("prune", golden, "-n", "--keep-last", "1")["sets"][0]["why"].startswith("last 1")
    assert backup("list", golden)["sets"][0]["pinned"] is False


def test_second_writer_is_refused(backup, golden):
    with open(golden / "lock", "w") as lock:
        lock.write("'create' by process 1 since ever\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "'create' by process 1" in backup("prune", golden, "--keep-last", "1", status=11)
        backup("list", golden)  # a backup disturbs no reader


@pytest.fixture
def full_disk(tmp_path):
    """A folder that is a file system of 72 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72m", "tmpfs", str(folder)], check=True, timeout=60)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)


def test_prune_works_on_a_full_disk(backup, golden, full_disk):
    repo = full_disk / "repo"
    backup("init", repo, "--chunk", "64k")
    for name in ("packs", "sets"):
        shutil.rmtree(repo / name)
        shutil.copytree(golden / name, repo / name)
    shutil.copy(golden / "format", repo / "format")
    with open(full_disk / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass
    assert "No space left" in backup("pin", repo, "latest", status=14)
    assert backup("prune", repo, "--keep-last", "1")["chunks_needed"] == 8
    assert (repo / "reserve").stat().st_size >= 16 << 20  # again, as far as there is room
    assert backup("list", repo)["sets"][0]["state"] == "good"
    said = backup("init", full_disk / "other", status=14)
    assert "No space left" in said and "--no-reserve" in said
    assert not (full_disk / "other" / "reserve").exists()  # or it would be in the way of the next try


def test_read_only_repository_is_read_and_not_written(backup, golden):
    subprocess.run(["mount", "--bind", str(golden), str(golden)], check=True, timeout=60)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(golden)], check=True, timeout=60)
        assert backup("list", golden)["sets"][0]["state"] == "good"
        assert len(backup("show", golden, "latest")["streams"]) == 3
        assert "Read-only" in backup("prune", golden, "--keep-last", "1", status=1)
        assert backup("prune", golden, "--keep-last", "1", "-n")["sets"][0]["kept"]
    finally:
        subprocess.run(["umount", "-l", str(golden)], check=True, timeout=60)
