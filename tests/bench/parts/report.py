# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians and ratios, as a table or as JSON. Figures of one run compare with each other only; the table says ratios for that reason."""

import json
import statistics

from .jobs import MEAN_OF

OURS = ("volatile", "kept")
WITHOUT = ("volatile-fuse", "kept-fuse")  # the same without direct reads, if they were asked for
OTHERS = ("plain", "qsd", "nbdkit", "xfs")


def ratio(row, ours, other):
    mine, theirs = row["median"].get(ours), row["median"].get(other)
    return mine / theirs if mine and theirs else None


def summary(job, samples):
    """One row: {subject: [figures]} -> medians, and each of our views against each other subject."""
    row = {"job": job.key, "title": job.title, "unit": job.unit, "is_over_iscsi": job.key.startswith("iscsi"),
           "samples": samples, "median": {name: statistics.median(v) for name, v in samples.items() if v}}
    row["ratio"] = {f"{ours}/{other}": round(ratio(row, ours, other), 3)
                    for ours, other in pairs(samples) if ratio(row, ours, other)}
    return row


def pairs(names):
    """Who is compared with whom: ours with the others, and, where there are views without direct reads, these with the plain file, and ours with
    them."""
    found = [(ours, other) for ours in OURS for other in OTHERS]
    if set(WITHOUT) & set(names):
        found += [(ours, "plain") for ours in WITHOUT] + list(zip(OURS, WITHOUT, strict=True))
    return found


def short(name):
    """volatile -> v, kept-fuse -> kf"""
    return "".join(part[0] for part in name.split("-"))


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def columns(rows):
    """(names, pairs) of a table of these rows."""
    names = {name for row in rows for name in row["median"]}
    return [name for name in ("plain", *OURS, *WITHOUT, *OTHERS[1:]) if name not in WITHOUT or name in names], pairs(names)


def cells(row, names, compared):
    line = [row["title"], row["unit"], *(number(row["median"].get(name)) for name in names)]
    for ours, other in compared:
        value = ratio(row, ours, other)
        line.append("-" if value is None else f"{value:.2f}")
    return line


def means(rows):
    """The geometric mean of the goal's rows, a line for each of ours, if all of them were measured."""
    chosen = [row for row in rows if row["job"] in MEAN_OF]
    lines = []
    for ours in (*OURS, *WITHOUT):
        found = {other: [r for row in chosen if (r := ratio(row, ours, other))] for other in OTHERS}
        text = ", ".join(f"/ {other} {statistics.geometric_mean(r):.2f}" for other, r in found.items() if len(r) == len(MEAN_OF))
        if text:
            lines.append(f"{ours}: geometric mean of {len(MEAN_OF)} reads over iSCSI: {text}\n")
    return lines


def table(rows):
    out = []
    for over_iscsi, title in ((False, "FUSE (fio psync --direct=1)"), (True, "iSCSI (iscsi-load)")):
        part = [row for row in rows if row["is_over_iscsi"] == over_iscsi]
        if not part:
            continue
        names, compared = columns(part)
        head = [title, "", *names, *(f"{short(ours)}/{short(other) if other in WITHOUT else other[:5]}" for ours, other in compared)]
        lines = [head, *(cells(row, names, compared) for row in part)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for line in lines:
            out.append("  ".join(text.ljust(w) if i < 2 else text.rjust(w)
                                 for i, (text, w) in enumerate(zip(line, widths, strict=True))).rstrip())
        out.append("")
    return "\n".join(out + means(rows))


def direct_line(shares):
    """Were direct reads at work? Reads as files and of sizes that go through FUSE count, too."""
    text = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return f"bytes that were read directly, of all: {text}\n" if text else ""


def as_json(rows, settings, skipped):
    return json.dumps({"settings": settings, "skipped": skipped, "rows": rows}, indent=1)
