#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for systemctl(1): notes each call in $DISKGATE_TEST_CALLS, refuses what systemd would refuse, and fails where it shall.

    daemon-reload
    enable|disable --now UNIT...      a unit without a file: nothing is done, and it fails

$DISKGATE_TEST_FAIL: words of a call that fails."""

import os
import sys

words = sys.argv[1:]
with open(os.environ["DISKGATE_TEST_CALLS"], "a") as file:
    print(*words, file=file)
missing = [w for w in words[1:] if not w.startswith("-") and not os.path.exists(f"/etc/systemd/system/{w}")]
if missing:
    sys.exit(f"Unit file {missing[0]} does not exist.")
if os.environ.get("DISKGATE_TEST_FAIL") and os.environ["DISKGATE_TEST_FAIL"] in " ".join(words):
    sys.exit("Access denied")
