"""Reads every file named on the command line, and every output in every folder, with webvtt-py (CSV: Python's csv).

Prints the number of cues (CSV: rows) of each or, after --cues, the cues and rows themselves. What cannot be read, and a
row that is not as wide as its header, is an error.
"""
import csv
import html
import json
import os
import sys

import webvtt


def read(path):
    if path.endswith(".csv"):
        with open(path, newline="", encoding="utf-8") as f:
            rows = list(csv.reader(f, strict=True))
        if any(len(row) != len(rows[0]) for row in rows):
            sys.exit(f"{path}: rows of different width")
        return [dict(zip(rows[0], row)) for row in rows[1:]]
    srt = path.endswith(".srt")
    if srt and os.path.getsize(path) == 0:
        return []  # SubRip has no header: no cues is an empty file, which webvtt-py does not take for SubRip.
    cues = webvtt.from_srt(path) if srt else webvtt.read(path)
    return [[c.start, c.end, c.raw_text if srt else html.unescape(c.text)] for c in cues]


args = sys.argv[1:]
whole = args[:1] == ["--cues"]
paths = []
for path in args[whole:]:
    if os.path.isdir(path):
        names = sorted(n for n in os.listdir(path) if n.endswith((".vtt", ".srt", ".csv")))
        paths += [os.path.join(path, n) for n in names]
    else:
        paths.append(path)
print(json.dumps([read(p) if whole else len(read(p)) for p in paths]))
