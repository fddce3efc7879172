#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a C file with texts in it: embed.py OUT HEADER NAME=FILE..."""

import sys

out, header, *texts = sys.argv[1:]
with open(out, "w", encoding="ascii") as c:
    c.write(f'#include "{header}"\n')
    for text in texts:
        name, _, path = text.partition("=")
        with open(path, "rb") as f:
            data = f.read()
        c.write(f"\nconst char {name}[] =\n")
        for line in data.splitlines(keepends=True):
            quoted = "".join(chr(b) if 32 <= b < 127 and b not in b'\\"?' else f"\\{b:03o}" for b in line)
            c.write(f'    "{quoted}"\n')
        c.write("    ;\n")
