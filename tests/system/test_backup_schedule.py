# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup schedule`: units that systemd understands, one set of them for each repository, and nothing of others is touched."""

import json
import os
import shutil
import subprocess

import pytest
from support.repository import Repository


@pytest.fixture
def site(root):
    if not (root.programs.build / "backup" / "diskgate-backup").exists():
        pytest.skip("diskgate-backup is not built")
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
    site.ok("set", "backup.max_age_h", "0")
    assert json.loads(site.run("--json", "status").stdout)["problems"] == []
