# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands as somebody without rights."""

import pathlib
import shutil
import stat
import subprocess
import tempfile

STRANGER = 65000  # a user id that nothing belongs to


def _may_reach(path):
    path = pathlib.Path(path).resolve()
    return all(p.stat().st_mode & stat.S_IXOTH for p in [path, *path.parents])


def as_stranger(command, **options):
    """The command's end. A program that lies where only its owner gets to, as in a checkout below /root, is run from a copy."""
    command = [str(word) for word in command]
    program = shutil.which(command[0]) or command[0]
    with tempfile.TemporaryDirectory(prefix="diskgate-test-") as folder:
        if not _may_reach(program):
            pathlib.Path(folder).chmod(0o755)
            program = shutil.copy2(program, folder)
        return subprocess.run(
            [str(program), *command[1:]], user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, **options
        )
