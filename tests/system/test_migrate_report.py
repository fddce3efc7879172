# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of an import, which a thread writes while rows are decided: there is a whole one with each run, and none without, whatever fails."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest
from support import system

pytestmark = pytest.mark.timeout(180)

KIB = 1024
ROWS = 4000  # some buffers of the plan


@pytest.fixture(autouse=True)
def programs_in_path(programs, monkeypatch):
    monkeypatch.setenv("PATH", f"{programs.build / 'migrate'}:{os.environ['PATH']}")


def table(root, name, rows=ROWS, first=0, extra=""):
    """All of them new, none in conflict: "all of it in one go" is what the thread needs."""
    path = root.files / name
    lines = [
        f'pc{n};00-1B-21-{n >> 16 & 255:02X}-{n >> 8 & 255:02X}-{n & 255:02X};10.{n >> 16}.{n >> 8 & 255}.{n & 255};D:\\Images\\win{n % 9}.img;seat "{n}"\n'
        for n in range(first, first + rows)
    ]
    path.write_text("Computer;MAC;IP;Image;Seat\n" + "".join(lines) + extra)
    return path


@contextlib.contextmanager
def small_disk(folder, size):
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0750,size={size}", "tmpfs", str(folder)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=30)


def resize(folder, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True, timeout=30)


def imports(root):
    folder = root.path / "imports"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def runs(root):
    return [row["object"].split()[1] for row in root.json("log")["log"] if row["verb"] == "import"]


def report(root, run):
    return json.loads((root.path / "imports" / f"{run}.json").read_text())


def check_report(told, rows, first=0):
    assert told["counts"]["rows"] == told["counts"]["imported"] == len(told["rows"]) == rows
    assert [row["row"] for row in told["rows"]] == list(range(1, rows + 1))
    assert [row["values"]["name"] for row in told["rows"]] == [f"pc{n}" for n in range(first, first + rows)]
    assert told["rows"][10]["rest"] == {"Seat": f'seat "{first + 10}"'}
    assert told["rows"][10]["images"] == [{"source_path": f"D:\\Images\\win{(first + 10) % 9}.img", "is_data": False, "image": None}]


def refused(root, path, before):
    """Exit status 1 with a sentence, nothing changed, nothing left."""
    done = root.run("migrate", "csv", path, "-q", "--charset", "UTF-8")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stdout + done.stderr
    assert root.catalog_text() == before and runs(root) == []
    assert imports(root) == []
    return done.stderr


def test_report_is_the_same_as_the_plan_says(root):
    path = table(root, "clients.csv")
    planned = json.loads(root.ok("--json", "migrate", "csv", path, "-n"))
    assert not imports(root)
    shown = root.json("migrate", "csv", path)
    told = report(root, 1)
    check_report(told, ROWS)
    assert shown == told
    assert (planned.pop("import")["is_dry_run"], told.pop("import")["is_dry_run"]) == (True, False)
    assert planned == told


def test_report_that_has_no_room_stops_the_import(root):
    """A disk that is full after some rows, and ones where a few pages are missing, of which one is for what precedes the rows."""
    folder = root.path / "imports"
    path = table(root, "clients.csv")
    with small_disk(folder, "64m"):
        root.ok("migrate", "csv", path, "-q")
        pages = -(-(folder / "1.json").stat().st_size // 4096)
        root.ok("migrate", "undo", "1")
        (folder / "1.json").unlink()
        before, failed = root.catalog_text(), []
        for size in (2, pages // 2, *range(pages - 3, pages + 6)):
            resize(folder, size * 4096)
            done = root.run("migrate", "csv", path, "-q")
            if done.returncode == 0:
                break
            assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
            assert "cannot write the report: No space left on device" in done.stderr
            assert f"nothing was imported; make some room below '{root.path}/imports'" in done.stderr
            assert root.catalog_text() == before and imports(root) == []
            failed.append(size)
        assert len(failed) > 3 and imports(root) == ["2.json"]
        check_report(report(root, 2), ROWS)


def test_plan_that_has_no_room_stops_the_import(root, monkeypatch):
    """The thread that writes the report waits for rows that never come."""
    folder = root.base / "tmp"
    path, before = table(root, "clients.csv"), root.catalog_text()
    failed = 0
    with small_disk(folder, "128k"):
        monkeypatch.setenv("TMPDIR", str(folder))
        for size in range(128, 8192, 128):
            resize(folder, size * KIB)
            done = root.run("migrate", "csv", path, "-q", timeout=60)
            if done.returncode == 0:
                break
            failed += 1
            assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
            assert root.catalog_text() == before and imports(root) == [] and list(folder.iterdir()) == []
    assert failed > 8 and imports(root) == ["1.json"]
    check_report(report(root, 1), ROWS)


def test_conflict_throws_the_report_away(root):
    path = table(root, "clients.csv", extra="pc;no MAC;;;\n")
    before = root.catalog_text()
    assert "1 row is in conflict" in refused(root, path, before)
    root.ok("migrate", "csv", path, "-q", "--skip-conflicts")
    told = report(root, 1)
    assert told["counts"]["imported"] == ROWS and told["counts"]["conflict"] == 1
    assert told["rows"][-1]["result"] == "conflict" and "bad MAC" in told["rows"][-1]["reason"]


def test_what_is_gone_from_the_source_is_known_after_the_rows_were_written(root):
    """The report has more to say before its rows than there is room for."""
    root.ok("migrate", "csv", table(root, "first.csv", rows=50), "-q")
    other = table(root, "other.csv", first=100)
    planned = json.loads(root.ok("--json", "migrate", "csv", other, "-n"))
    root.ok("migrate", "csv", other, "-q")
    told = report(root, 2)
    check_report(told, ROWS, first=100)
    assert sorted(row["client"] for row in told["gone"]) == sorted(f"pc{n}" for n in range(50)) and told["counts"]["gone"] == 50
    assert planned["gone"] == told["gone"]


def test_row_that_is_left_out_for_a_missing_image_names_it(root):
    path, mapping = table(root, "clients.csv", rows=30), root.files / "mapping"
    root.ok("migrate", "csv", path, "-n", "-q", "--save-mapping", mapping)
    mapping.write_text(mapping.read_text().replace("missing_image = import-unlinked", "missing_image = skip"))
    root.ok("migrate", "csv", path, "-q", "--mapping", mapping)
    for n, row in enumerate(report(root, 1)["rows"]):
        assert row["result"] == "skipped" and [i["source_path"] for i in row["images"]] == [f"D:\\Images\\win{n % 9}.img"]


def test_kill_leaves_a_whole_report_or_none(root):
    path = table(root, "clients.csv")
    command = root.command("migrate", "csv", path, "-q")
    started = time.monotonic()
    root.ok("migrate", "csv", path, "-q")
    whole_s = time.monotonic() - started
    root.ok("migrate", "undo", "1")
    dice, cut = random.Random(9), 0
    pending = root.path / "imports" / "pending"
    for _ in range(8):
        kept, next_run = runs(root), imports(root)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not pending.exists() and process.poll() is None:  # the report is begun a moment later
            time.sleep(0.0005)
        time.sleep(dice.random() * whole_s / 2)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        system.wait_until(lambda: not pending.exists(), what="the helper that cleans up")
        now = runs(root)
        assert imports(root) == sorted([*next_run, *(f"{run}.json" for run in now if run not in kept)])
        cut += len(now) == len(kept)
        for run in now:
            check_report(report(root, run), ROWS)
        if len(now) > len(kept):
            root.ok("migrate", "undo", now[-1])
    assert cut > 0
