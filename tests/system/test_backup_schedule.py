# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup schedule`: units that systemd understands, one set of them for each repository, and nothing of others is touched."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from support import system
from support.files import MIB, make_image
from support.repository import Repository


@pytest.fixture
def site(root):
    root.repository = Repository(root, "repo with 100% blanks").init("--no-reserve")
    root.units = root.base / "units"
    root.units.mkdir()
    return root


def schedule(site, *words):
    return json.loads(site.repository.ok("--json", "schedule", *words, "--unit-dir", site.units))


def test_units_are_understood_by_systemd(site):
    schedule(site, "daily", "03:30", site.repository.path, "--keep-daily", "14", "--keep-within", "2w")
    names = sorted(p.name for p in site.units.iterdir())
    assert len(names) == 6
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *(str(site.units / n) for n in names)], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    timer = next(t for t in site.units.glob("*.timer") if not t.stem.endswith(("-prune", "-verify"))).read_text()
    assert "OnCalendar=*-*-* 03:30:00" in timer and "Persistent=true" in timer


def test_command_of_a_unit_does_what_it_says(site):
    name = schedule(site, "weekly", "Sun", "23:15", site.repository.path)["schedule"]
    service = (site.units / f"{name}.service").read_text()
    assert "IOSchedulingClass=idle" in service and "Nice=10" in service
    (line,) = [text for text in service.splitlines() if text.startswith("ExecStart=")]
    command = line.removeprefix("ExecStart=").replace("%%", "%")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(site.repository.sets()) == 1


def test_scheduled_sets_are_signed(site):
    key, public = site.files / "my key.pem", site.files / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True, timeout=60)
    subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)], check=True, timeout=60)
    for wrong in (site.files / "missing", public):
        done = site.repository.run("schedule", "hourly", site.repository.path, "--unit-dir", site.units, "--sign", wrong)
        assert done.returncode in (1, 12) and str(wrong) in done.stderr and list(site.units.iterdir()) == []
    name = schedule(site, "hourly", site.repository.path, "--sign", key, "--keep-last", "3")["schedule"]
    commands = {}
    for part in ("", "-prune", "-verify"):
        (line,) = [text for text in (site.units / f"{name}{part}.service").read_text().splitlines() if text.startswith("ExecStart=")]
        commands[part] = line.removeprefix("ExecStart=").replace("%%", "%")
    assert "--sign" not in commands["-prune"] and "--sign" not in commands["-verify"]
    subprocess.run(["sh", "-c", commands[""]], check=True, timeout=60, capture_output=True)
    site.repository.ok("verify", site.repository.path, "--key", public)
    if not os.path.exists("/run/systemd/system"):
        create, verify = json.loads(site.repository.ok("--json", "schedule", "hourly", site.repository.path, "--sign", key))["cron"]
        assert f"--sign '{key}'" in create and "--sign" not in verify


def test_schedules_are_listed_and_removed(site):
    other = Repository(site, "other").init("--no-reserve")
    first = schedule(site, "daily", "03:30", site.repository.path, "--keep-last", "3")["schedule"]
    second = schedule(site, "hourly", other.path)["schedule"]
    assert first != second
    rows = {row["schedule"]: row for row in schedule(site, "list")["schedules"]}
    assert rows[first]["when"] == "daily 03:30" and rows[first]["next"] and rows[first]["last_backup"] is None
    assert rows[first]["repository"] == str(site.repository.path) and rows[first]["keep"] == "--keep-last 3"
    site.repository.create()
    assert next(r for r in schedule(site, "list")["schedules"] if r["schedule"] == first)["last_backup"]
    schedule(site, "remove", first)
    assert [row["schedule"] for row in schedule(site, "list")["schedules"]] == [second]
    assert not list(site.units.glob(f"{first}*"))
    done = site.repository.run("schedule", "remove", first, "--unit-dir", site.units)
    assert done.returncode == 1 and "no schedule" in done.stderr


def test_unit_of_somebody_else_stays(site):
    name = schedule(site, "hourly", site.repository.path)["schedule"]
    schedule(site, "remove", name)
    mine = site.units / f"{name}.service"
    mine.write_text("[Service]\nExecStart=/bin/true\n")
    done = site.repository.run("schedule", "hourly", site.repository.path, "--unit-dir", site.units)
    assert done.returncode == 1 and "was not made by" in done.stderr
    assert mine.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_without_systemd_there_are_lines_for_cron(site):
    if os.path.exists("/run/systemd/system"):
        pytest.skip("systemd runs here")
    said = json.loads(site.repository.ok("--json", "schedule", "weekly", "mon", "22:05", site.repository.path, "--keep-last", "9"))
    create, prune, verify = said["cron"]
    assert create.startswith("5 22 * * 1 root ") and prune.startswith("5 0 * * 2 root ") and verify.startswith("5 2 * * 2 root ")


# --- with systemd ------------------------------------------------------------------------------------------------------


class Systemd:
    """A mount namespace in which systemd seems to run: the folder of units is the test's own, systemctl a stand-in."""

    def __init__(self, site):
        self.site, self.calls_file = site, site.base / "calls"
        (site.base / "bin").mkdir()
        (site.base / "bin" / "systemctl").symlink_to(pathlib.Path(__file__).parent / "support" / "record_systemctl.py")

    def run(self, *words, fail=""):
        script = 'mount --bind "$1" /etc/systemd/system && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && shift && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", str(self.site.units), *self.site.repository.command("schedule", *words)]
        environment = {**self.site.repository.environment(), "PATH": f"{self.site.base}/bin:{os.environ['PATH']}",
                       "DISKGATE_TEST_CALLS": str(self.calls_file), "DISKGATE_TEST_FAIL": fail}
        self.calls_file.write_text("")
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environment)

    def ok(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr

    def calls(self):
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def systemd(site):
    if not os.path.isdir("/etc/systemd/system"):
        pytest.skip("there is no folder of units")
    return Systemd(site)


def name_of(site):
    (name,) = [p.stem for p in site.units.glob("*.timer") if not p.stem.endswith(("-prune", "-verify"))]
    return name


def files(folder):
    return {p.name: p.read_text() for p in folder.iterdir()}


def test_timers_are_started_and_stopped(site, systemd):
    systemd.ok("daily", "03:30", site.repository.path, "--keep-daily", "14")
    name = name_of(site)
    assert systemd.calls() == ["daemon-reload", *(f"enable --now {name}{part}.timer" for part in ("", "-prune", "-verify"))]
    systemd.ok("daily", "04:30", site.repository.path)
    assert systemd.calls() == [f"disable --now {name}-prune.timer", "daemon-reload", f"enable --now {name}.timer",
                               f"enable --now {name}-verify.timer"], "nothing is deleted by rules that are gone"
    assert not (site.units / f"{name}-prune.timer").exists()
    systemd.ok("remove", name)
    assert systemd.calls() == [f"disable --now {name}.timer", f"disable --now {name}-verify.timer", "daemon-reload"]
    assert list(site.units.iterdir()) == []
    done = systemd.run("remove", name)
    assert done.returncode == 1 and "no schedule" in done.stderr and systemd.calls() == []


@pytest.mark.parametrize("fail", ["daemon-reload", "enable", "-verify"])
def test_failure_leaves_no_half_schedule(site, systemd, fail):
    done = systemd.run("daily", "03:30", site.repository.path, "--keep-daily", "14", fail=fail)
    assert done.returncode == 1 and "nothing is scheduled" in done.stderr and list(site.units.iterdir()) == []
    systemd.ok("daily", "03:30", site.repository.path, "--keep-daily", "14")
    before = files(site.units)
    done = systemd.run("weekly", "Sun", "05:00", site.repository.path, fail=fail)
    assert done.returncode == 1 and "stays as it was" in done.stderr and files(site.units) == before
    done = systemd.run("remove", name_of(site), fail="disable")
    assert done.returncode == 1 and "nothing was removed" in done.stderr and files(site.units) == before


def test_no_systemctl_no_schedule(site, systemd):
    (site.base / "bin" / "systemctl").unlink()
    (site.base / "bin" / "systemctl").write_text("")  # cannot be run
    done = systemd.run("hourly", site.repository.path)
    if done.returncode == 0:
        pytest.skip("this machine has a systemctl that does something")
    assert "nothing is scheduled" in done.stderr and list(site.units.iterdir()) == []


def test_unit_of_somebody_else_leaves_nothing_of_ours(site):
    """The last of the names is taken."""
    name = schedule(site, "hourly", site.repository.path)["schedule"]
    schedule(site, "remove", name)
    (site.units / f"{name}-verify.timer").write_text("[Timer]\n")
    done = site.repository.run("schedule", "hourly", site.repository.path, "--unit-dir", site.units)
    assert done.returncode == 1 and files(site.units) == {f"{name}-verify.timer": "[Timer]\n"}


# --- how it went -------------------------------------------------------------------------------------------------------


def listed(site):
    (row,) = schedule(site, "list")["schedules"]
    return row


def test_list_shows_how_the_last_run_went(site):
    schedule(site, "daily", "03:30", site.repository.path, "--keep-last", "3")
    row = listed(site)
    assert row["last_run"] is None and row["result"] == "never ran" and row["prune"] == row["verify"] == "never"
    site.repository.create()
    good = listed(site)
    assert good["result"] == "done" and good["result_status"] == 0 and good["last_run"] and good["last_backup"]
    away = site.base / "away"
    site.repository.path.rename(away)
    assert site.repository.run("create", site.repository.path).returncode == 10
    away.rename(site.repository.path)
    bad = listed(site)
    assert bad["result"].startswith("failed: there is no repository") and bad["result_status"] == 10
    assert bad["last_backup"] == good["last_backup"], "which is not the same as the last run"
    site.ok("image", "add", "win", make_image(site.files / "base.raw", MIB))
    site.repository.create("win")
    assert listed(site)["result_status"] == 10, "a backup of one image is no run of the schedule"
    site.repository.ok("prune", site.repository.path, "--keep-last", "1", "-n")
    assert listed(site)["prune"] == "never"
    site.repository.ok("prune", site.repository.path, "--keep-last", "1")
    pack = site.repository.packs()[0]
    pack.write_bytes(pack.read_bytes()[:-5000])
    assert site.repository.run("verify", site.repository.path).returncode == 13
    row = listed(site)
    assert row["prune"].startswith("done (") and "damage was found" in row["verify"]
    assert site.repository.run("create", site.repository.path, "--level", "77").returncode == 2
    assert listed(site)["result_status"] == 10, "wrong words are no run"


def test_run_that_was_killed_is_known(site):
    schedule(site, "hourly", site.repository.path)
    site.ok("image", "add", "win", make_image(site.files / "base.raw", 64 * MIB))
    job = site.repository.start("--threads", "1", "--level", "19")
    system.wait_until(lambda: listed(site)["last_run"], what="the run")
    job.send_signal(signal.SIGSTOP)
    assert job.poll() is None and listed(site)["result"] == "running"
    job.kill()
    job.communicate(timeout=60)
    assert listed(site)["result"] == "was cut off" and listed(site)["result_status"] is None
    site.repository.create()
    assert listed(site)["result"] == "done"


def test_bad_words_get_a_sentence(site):
    for words in (("daily",), ("daily", "25:00"), ("sometimes",), ("weekly", "Day", "03:00"), ("daily", "03:30")):
        done = site.repository.run("schedule", *words, "--unit-dir", site.units)
        assert done.returncode == 2, words
    done = site.repository.run("schedule", "hourly", site.files, "--unit-dir", site.units)
    assert done.returncode == 10
    assert list(site.units.iterdir()) == []


# --- too old -----------------------------------------------------------------------------------------------------------


def test_monitor_is_told_of_backups_that_are_too_old(site):
    path = site.repository.path
    done = site.repository.run("status", path)
    assert done.returncode == 1 and "no backup yet" in done.stdout
    site.repository.create()
    site.repository.ok("status", path, "--max-age", "26h")
    assert site.repository.run("status", path, "--max-verify-age", "1d").returncode == 1
    site.repository.ok("verify", path)
    site.repository.ok("status", path, "--max-verify-age", "1d")
    done = site.repository.run("--json", "status", path, site.files)
    assert done.returncode == 10
    rows = json.loads(done.stdout)["repositories"]
    assert rows[0]["set"] == site.repository.last and rows[0]["problem"] is None and rows[1]["problem"]


def test_set_from_the_future_is_not_young(site):
    """Made while the clock was a year ahead: it would hide for a year that backups have stopped."""
    site.repository.create()
    site.repository.ok("verify", site.repository.path)
    folder = site.repository.path / "sets" / site.repository.last
    lines = (folder / "set.txt").read_text().splitlines(True)[:-1]
    text = "".join(f"time {int(line.split()[1]) + 365 * 86400}\n" if line.startswith("time ") else line for line in lines)
    hashed = subprocess.run(["xxhsum", "-H2", "-"], input=text.encode(), capture_output=True, check=True, timeout=60).stdout.split()[0].decode()
    (folder / "set.txt").write_text(f"{text}end {len(lines)} {hashed}\n")
    sums = (folder / "SHA256SUMS").read_text().splitlines(True)
    digest = hashlib.sha256((folder / "set.txt").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  set.txt\n" if line.endswith("  set.txt\n") else line for line in sums))
    site.repository.ok("status", site.repository.path)
    done = site.repository.run("status", site.repository.path, "--max-age", "26h")
    assert done.returncode == 1 and "from the future" in done.stdout
    done = site.repository.run("prune", site.repository.path, "--keep-last", "1")
    assert done.returncode != 0 and site.repository.sets() == [site.repository.last], "nothing is deleted by such a clock"


def test_status_of_the_root_knows_the_last_backup(site):
    site.ok("set", "backup.max_age_h", "26")
    assert any("never backed up" in p["problem"] for p in json.loads(site.run("--json", "status").stdout)["problems"])
    site.repository.create()
    status = json.loads(site.run("--json", "status").stdout)
    assert status["problems"] == [] and status["last_backup"]["set"] == site.repository.last
    note = site.path / "backup-state.json"
    state = json.loads(note.read_text())
    state["time_s"] -= 48 * 3600
    note.write_text(json.dumps(state))
    assert any("48 hours old" in p["problem"] for p in json.loads(site.run("--json", "status").stdout)["problems"])
    state["time_s"] += 96 * 3600
    note.write_text(json.dumps(state))
    assert any("from the future" in p["problem"] for p in json.loads(site.run("--json", "status").stdout)["problems"])
    site.ok("set", "backup.max_age_h", "0")
    assert json.loads(site.run("--json", "status").stdout)["problems"] == []
