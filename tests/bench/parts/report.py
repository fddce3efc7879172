# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians and ratios, as a table or as JSON. Figures of one run compare with each other only; the table says ratios for that reason."""

import json
import statistics

from .jobs import MEAN_OF

OURS = ("volatile", "kept")
OTHERS = ("plain", "qsd", "nbdkit", "xfs")


def ratio(row, ours, other):
    mine, theirs = row["median"].get(ours), row["median"].get(other)
    return mine / theirs if mine and theirs else None


def summary(job, samples):
    """One row: {subject: [figures]} -> medians, and each of our views against each other subject."""
    row = {"job": job.key, "title": job.title, "unit": job.unit, "is_over_iscsi": job.key.startswith("iscsi"),
           "samples": samples, "median": {name: statistics.median(v) for name, v in samples.items() if v}}
    row["ratio"] = {f"{ours}/{other}": round(ratio(row, ours, other), 3)
                    for ours in OURS for other in OTHERS if ratio(row, ours, other)}
    return row


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def cells(row):
    line = [row["title"], row["unit"]]
    line += [number(row["median"].get(name)) for name in ("plain", *OURS, *OTHERS[1:])]
    for ours in OURS:
        for other in OTHERS:
            value = ratio(row, ours, other)
            line.append("-" if value is None else f"{value:.2f}")
    return line


def means(rows):
    """The geometric mean of the goal's rows, a line for each of ours, if all of them were measured."""
    chosen = [row for row in rows if row["job"] in MEAN_OF]
    lines = []
    for ours in OURS:
        found = {other: [r for row in chosen if (r := ratio(row, ours, other))] for other in OTHERS}
        text = ", ".join(f"/ {other} {statistics.geometric_mean(r):.2f}" for other, r in found.items() if len(r) == len(MEAN_OF))
        if text:
            lines.append(f"{ours}: geometric mean of {len(MEAN_OF)} reads over iSCSI: {text}\n")
    return lines


def table(rows):
    head = ["", "", "plain", *OURS, *OTHERS[1:], *(f"{ours[0]}/{other[:5]}" for ours in OURS for other in OTHERS)]
    out = []
    for over_iscsi, title in ((False, "FUSE (fio psync --direct=1)"), (True, "iSCSI (iscsi-load)")):
        part = [cells(row) for row in rows if row["is_over_iscsi"] == over_iscsi]
        if not part:
            continue
        lines = [[title, *head[1:]], *part]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        for line in lines:
            out.append("  ".join(text.ljust(w) if i < 2 else text.rjust(w)
                                 for i, (text, w) in enumerate(zip(line, widths, strict=True))).rstrip())
        out.append("")
    return "\n".join(out + means(rows))


def as_json(rows, settings, skipped):
    return json.dumps({"settings": settings, "skipped": skipped, "rows": rows}, indent=1)
