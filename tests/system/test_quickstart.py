# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's first command works, twice and beside others, and --once leaves nothing. All scripts are clean."""

import os
import shutil
import signal
import subprocess
import tempfile

import pytest
from support import system
from support.files import MIB, make_image, make_vhd
from support.iscsi import file_hash


@pytest.fixture
def folder(programs):
    """A folder for roots that quickstart makes; whatever stays in it is cleared away and is a fault."""
    made = tempfile.mkdtemp(prefix="diskgate-test-", dir=os.environ.get("DISKGATE_TEST_TMP", "/var/tmp"))
    os.chmod(made, 0o755)
    yield made
    left = [*system.processes_of(made).values(), *system.mounts_below(made)]
    system.unmount_all(made)
    system.kill_all(system.processes_of(made))
    shutil.rmtree(made, ignore_errors=True)
    assert not left


def quickstart(repository, *args, check=True):
    environment = dict(os.environ, QUICKSTART_SAMPLE_SIZE="64M")
    command = [str(repository / "contrib/quickstart"), *map(str, args)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=350)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_once_works_twice_in_a_row_and_leaves_nothing(repository, folder):
    for _ in range(2):
        said = quickstart(repository, "--once", "--root", f"{folder}/root").stdout
        assert said.count("ok: ") >= 6
        assert os.listdir(folder) == []


def test_once_works_beside_another_root_that_is_up(repository, folder, root):
    image = make_image(root.files / "base.raw", 2 * MIB)
    root.ok("image", "add", "win", image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("up")
    running = root.file_system_processes(), root.tgt_processes()
    vhd = make_vhd(image, f"{folder}/my-image.vhd")
    before = file_hash(vhd)
    quickstart(repository, "--once", "--root", f"{folder}/root", vhd)
    assert file_hash(vhd) == before
    assert os.listdir(folder) == ["my-image.vhd"]
    assert (root.file_system_processes(), root.tgt_processes()) == running
    assert root.disk("pc01").hash() == file_hash(image)


def test_without_once_it_stays_up_and_a_second_run_makes_it_anew(repository, folder, programs):
    for _ in range(2):
        said = quickstart(repository, "--root", f"{folder}/root").stdout
        assert f"--root {folder}/root down" in said
        assert system.mounts_below(folder)
    subprocess.run([str(programs.diskgate), "--root", f"{folder}/root", "down"], check=True, timeout=60)


def test_a_folder_of_somebody_else_is_refused_and_left_alone(repository, folder):
    os.mkdir(f"{folder}/root")
    with open(f"{folder}/root/letter", "w") as file:
        file.write("mine")
    done = quickstart(repository, "--once", "--root", f"{folder}/root", check=False)
    assert done.returncode == 1 and f"{folder}/root" in done.stderr
    assert os.listdir(f"{folder}/root") == ["letter"]


def test_a_bad_image_is_refused_and_nothing_is_left(repository, folder):
    with open(f"{folder}/empty.raw", "w"):
        pass
    done = quickstart(repository, "--once", "--root", f"{folder}/root", f"{folder}/empty.raw", check=False)
    assert done.returncode == 1 and "empty.raw" in done.stderr
    assert os.listdir(folder) == ["empty.raw"]


def test_an_interrupted_run_leaves_nothing(repository, folder):
    image = make_image(f"{folder}/base.raw", 256 * MIB)
    command = [str(repository / "contrib/quickstart"), "--once", "--root", f"{folder}/root", image]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        said = ""
        for line in run.stdout:
            said += line
            if line.startswith("ok: pc01 reads"):
                break
        run.send_signal(signal.SIGTERM)
        said += run.stdout.read()
        assert run.wait(60) == 143, said
    assert os.listdir(folder) == ["base.raw"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_scripts_pass_shellcheck(repository):
    scripts = ["contrib/quickstart", "contrib/check", "contrib/make-sample-image", ".ci/run"]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
