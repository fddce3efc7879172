# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians and ratios, as a table or as JSON. Figures of one run compare with each other only; the table says ratios for that reason."""

import json
import statistics

OURS = ("volatile", "kept")
OTHERS = ("plain", "qsd", "nbdkit")


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
    line += [number(row["median"].get(name)) for name in ("plain", *OURS, "qsd", "nbdkit")]
    for ours in OURS:
        for other in OTHERS:
            value = ratio(row, ours, other)
            line.append("-" if value is None else f"{value:.2f}")
    return line


def table(rows):
    head = ["", "", "plain", "volatile", "kept", "qsd", "nbdkit",
            "v/plain", "v/qsd", "v/nbd", "k/plain", "k/qsd", "k/nbd"]
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
    return "\n".join(out)


def as_json(rows, settings, skipped):
    return json.dumps({"settings": settings, "skipped": skipped, "rows": rows}, indent=1)
