# SPDX-License-Identifier: GPL-2.0-or-later
"""A PC before its system runs: it asks for its boot script, and does what the script says."""

import contextlib
import ctypes
import http.client
import os
import re
import signal
import socket
import subprocess
import time

from . import system
from .files import MIB, make_image
from .iscsi import Disk

MAC = "52:54:00:00:00:01"  # of the one client of serve_one()
SIZE = 64 * MIB  # of its disk


def mac(number):
    """The address of one of 65536 more PCs."""
    return f"52:54:00:01:{number >> 8:02x}:{number & 255:02x}"


def serve_one(root):
    """@root with image win, linked to client pc1, up."""
    make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc1", "--mac", MAC, "--image", "win")
    root.ok("up")
    return root


def get(root, path, method="GET", timeout=60, source="127.0.0.1", **options):
    """(status, text) of one request to the boot service, from any address of 127.0.0.0/8."""
    connection = http.client.HTTPConnection("127.0.0.1", root.boot_port, timeout=timeout, source_address=(source, 0))
    try:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def script(root, mac, source="127.0.0.1"):
    """The boot event."""
    status, text = get(root, f"/boot/{mac}", source=source)
    assert status == 200 and text.startswith("#!ipxe\n"), (status, text)
    return text


def sentence(text):
    """What the PC shows."""
    return "\n".join(line.split(" ", 2)[2] for line in text.splitlines() if re.match(r"echo (Diskgate:|>) ", line))


def url_of(text):
    """The disk that a script boots, as a URL for libiscsi; None if the script refuses."""
    found = re.search(r"^sanboot .* iscsi:(\S+)::(\d+):([0-9a-f]+):(\S+) \|\|$", text, re.MULTILINE)
    if not found:
        return None
    address, port, lun, target = found.groups()
    user, password = (re.search(rf"^set {name} (\S+)$", text, re.MULTILINE) for name in ("username", "password"))
    lock = f"{user[1]}%{password[1]}@" if user else ""
    return f"iscsi://{lock}{address}:{port}/{target}/{int(lun, 16)}"


class BootedDisk(Disk):
    """The disk of a PC that just asked for its script, with what the script says and nothing else."""

    def __init__(self, root, mac):
        text = script(root, mac)
        self.url = url_of(text)
        assert self.url, text
        self.scratch = root.files


@contextlib.contextmanager
def session(root, url, log="session.log"):
    """A PC that is logged in and writes without end."""
    path = root.files / log
    process = subprocess.Popen([str(root.programs.ackwrite), url, str(path)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.terminate()
        process.send_signal(signal.SIGCONT)
        process.wait(timeout=60)
        process.stdout.close()


TCP_REPAIR = 19
SYS_PIDFD_GETFD = 438


def _socket_of(process):
    """Its only connection, as a socket of our own."""
    pidfd = os.pidfd_open(process.pid)
    try:
        (number,) = [n for n in os.listdir(f"/proc/{process.pid}/fd") if os.readlink(f"/proc/{process.pid}/fd/{n}").startswith("socket:")]
        fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_PIDFD_GETFD, pidfd, int(number), 0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        return socket.socket(fileno=fd)
    finally:
        os.close(pidfd)


def _queues(local, remote):
    """(bytes that are not acknowledged yet, bytes that nobody has read yet) of the end of a connection that has these ports."""
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            words = line.split()
            if [int(end.rpartition(":")[2], 16) for end in words[1:3]] == [local, remote]:
                return tuple(int(number, 16) for number in words[4].split(":"))
    raise AssertionError("the connection is gone")


def _is_answered(sock):
    """The other side has answered the last command, knows that the answer came, and so has nothing more to say."""
    mine, other = sock.getsockname()[1], sock.getpeername()[1]
    return _queues(other, mine) == (0, 0) and _queues(mine, other)[1] > 0


def _stop_answered(process, sock):
    """Stop it where an answer has come that it has not read."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        os.kill(process.pid, signal.SIGSTOP)
        look_until = time.monotonic() + 1
        while time.monotonic() < look_until:
            if _is_answered(sock):
                return
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGCONT)  # it was between two commands
        time.sleep(0.01)
    raise AssertionError("it never waited for an answer that came")


def lose_power(process):
    """End a process as a PC ends whose plug is pulled: its connection is forgotten without a word to the other side. The other side must have
    nothing to say, either: this machine's TCP would answer that it knows no such connection, and a PC without power answers nothing."""
    with _socket_of(process) as sock:
        _stop_answered(process, sock)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        process.kill()
        process.wait(timeout=30)


def raw(root, data, timeout=60):
    """Any bytes to the port of the boot service, and what comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", root.boot_port), timeout=timeout) as sock:
        answer = b""
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            while piece := sock.recv(65536):
                answer += piece
        return answer


def choose(root, mac, slot):
    """The answer to the boot menu."""
    return script(root, f"{mac}/{slot}")


def cut_server_power(root):
    """What the next boot of the machine finds: live maps of another boot."""
    root.ok("down")
    for path in (root.path / "run" / "live").glob("*.live"):
        with open(path, "r+b") as file:
            file.seek(16)
            file.write(os.urandom(16))


def daemon_of(root):
    """Pid of its diskgated; None if it does not run."""
    found = [pid for pid, text in system.processes_of(str(root.path)).items() if "diskgated" in text.split(" ")[0]]
    found = [pid for pid in found if system.parent_of(pid) not in found]  # one that it has forked and that is about to run another program
    assert len(found) <= 1
    return found[0] if found else None
