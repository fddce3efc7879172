# SPDX-License-Identifier: GPL-2.0-or-later
"""A root on a file system of its own that is so small that it can be filled."""

import os
import shutil
import subprocess

from . import system
from .files import MIB
from .root import Root

KINDS = {"ext4": (96, ["-q", "-m0", "-F"]), "xfs": (320, ["-q", "-f"])}  # MiB, options of mkfs


def can_make(kind):
    return shutil.which(f"mkfs.{kind}", path="/usr/sbin:/sbin:/usr/bin") is not None


class SmallRoot(Root):
    """Mounted before `init`; close() takes everything away again, whatever state it is in."""

    def __init__(self, programs, limit_s, kind="ext4"):
        super().__init__(programs, limit_s)
        size_mib, options = KINDS[kind]
        disk = self.base / "disk.img"
        with open(disk, "wb") as file:
            file.truncate(size_mib * MIB)
        self.path.mkdir()
        subprocess.run(["/usr/sbin/mkfs." + kind, *options, str(disk)], check=True, timeout=60)
        subprocess.run(["mount", "-o", "loop", str(disk), str(self.path)], check=True, timeout=60)
        self.path.chmod(0o755)
        self.ballast = self.path / "ballast"

    def fill(self):
        """Until not one more block can be had."""
        fd = os.open(self.ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for step in (MIB, 4096):
                try:
                    while True:
                        os.write(fd, b"\xaa" * step)
                        os.fsync(fd)
                except OSError:
                    pass
        finally:
            os.close(fd)

    def make_room(self):
        self.ballast.unlink()

    def close(self):
        self.ballast.unlink(missing_ok=True)
        faults = self.down()
        faults += [f"process {pid}: {text}" for pid, text in system.processes_of(str(self.base)).items()]
        faults += [f"mount {point}" for point, _, _ in system.mounts_below(str(self.path))]
        system.unmount_all(str(self.path))
        system.kill_all(system.processes_of(str(self.base)))
        subprocess.run(["umount", str(self.path)], check=False, timeout=60)
        if os.path.ismount(self.path):
            faults.append("the small file system is busy")
            subprocess.run(["umount", "-l", str(self.path)], check=False, timeout=60)
        self.path.rmdir()
        return faults + super().close()
