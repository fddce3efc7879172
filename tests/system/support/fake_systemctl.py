#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A systemctl that runs units without systemd: start, restart, stop UNIT...

Of a unit it takes Environment, ExecCondition, ExecStart with readiness by Type=notify or exec, ExecStartPost, ExecStop, and, so that they are
tried, CapabilityBoundingSet and NoNewPrivileges. FAKE_UNITS is the folder of the units; it also gets a log of what was asked, and pids."""

import contextlib
import fnmatch
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time

FOLDER = pathlib.Path(os.environ["FAKE_UNITS"])
LIMIT_S = 90


def read(unit):
    """[(key, value)] of a unit, "@" filled in."""
    file, instance = FOLDER / unit, ""
    if not file.exists() and "@" in unit:
        instance = unit.split("@", 1)[1].removesuffix(".service")
        file = FOLDER / (unit.split("@", 1)[0] + "@.service")
    lines = [line for line in file.read_text().replace("%i", instance).splitlines() if "=" in line and not line.startswith("#")]
    return [tuple(line.split("=", 1)) for line in lines]


def values(rows, key):
    return [value for name, value in rows if name == key]


def environment(rows):
    env = {key: value for key, value in os.environ.items() if key in ("PATH", "FAKE_UNITS", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "LSAN_OPTIONS")}
    for text in values(rows, "Environment"):
        env.update(word.split("=", 1) for word in text.split())
    return env


def limited(rows, command):
    """The command with the privileges that the unit leaves it."""
    words = ["setpriv"]
    for text in values(rows, "CapabilityBoundingSet"):
        words += ["--bounding-set=-all," + ",".join("+" + name.removeprefix("CAP_").lower() for name in text.split())]
    words += ["--no-new-privs"] if "yes" in values(rows, "NoNewPrivileges") else []
    return [*words, *shlex.split(command)] if len(words) > 1 else shlex.split(command)


def run(rows, command):
    is_free = command.startswith("-")
    done = subprocess.run(limited(rows, command.lstrip("-")), env=environment(rows), stdin=subprocess.DEVNULL, check=False, timeout=LIMIT_S)
    return 0 if is_free else done.returncode


def pid_file(unit):
    return FOLDER / f"{unit}.pid"


def pid_of(unit):
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file(unit).read_text())
        if "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text():
            return pid
    return None


def start(unit):
    rows = read(unit)
    kind = (values(rows, "Type") or ["simple"])[0]
    if unit.endswith(".target"):
        return 0
    if kind == "oneshot":
        return max(run(rows, command) for command in values(rows, "ExecStart"))
    if pid_of(unit) or any(run(rows, command) for command in values(rows, "ExecCondition")):
        return 0
    env, path = environment(rows), f"\0fake-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, open(FOLDER / f"{unit}.log", "ab") as log:
        sock.bind(path)
        sock.settimeout(LIMIT_S)
        if kind == "notify":
            env["NOTIFY_SOCKET"] = "@" + path[1:]
        process = subprocess.Popen(limited(rows, values(rows, "ExecStart")[0]), env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        pid_file(unit).write_text(str(process.pid))
        while kind == "notify" and b"READY=1" not in sock.recv(4096).split(b"\n"):
            pass
    return max([0, *(run(rows, command) for command in values(rows, "ExecStartPost"))])


def stop(unit):
    pid = pid_of(unit)
    if not pid:
        return 0
    for command in values(read(unit), "ExecStop"):
        run(read(unit), command)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + LIMIT_S
        with contextlib.suppress(OSError):
            os.kill(pid, sig)
        while pid_of(unit) and time.monotonic() < end:
            time.sleep(0.02)
    pid_file(unit).unlink(missing_ok=True)
    return 0


def main():
    verb, units = sys.argv[1], sys.argv[2:]
    with open(FOLDER / "asked", "a", encoding="ascii") as log:
        log.write(" ".join(sys.argv[1:]) + "\n")
    names = sorted(path.name.removesuffix(".pid") for path in FOLDER.glob("*.pid"))
    status = 0
    for unit in units:
        for name in fnmatch.filter(names, unit) if "*" in unit else [unit]:
            if verb in ("stop", "restart"):
                status = max(status, stop(name))
            if verb in ("start", "restart"):
                status = max(status, start(name))
    return status


if __name__ == "__main__":
    sys.exit(main())
