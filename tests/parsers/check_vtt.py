"""Reads outputs with webvtt-py (CSV: Python's csv): files named on the command line, and those in named folders.

Prints the number of cues (CSV: rows) of each or, after --cues, the cues and rows themselves. A file that cannot be read
is an error, and so is a row that is not as wide as its header.
"""

from __future__ import annotations

import csv
import html
import json
import sys
from pathlib import Path
from typing import Any

import webvtt


def read(path: Path) -> list[Any]:
    """The cues of a file as [start, end, text], or the rows of a CSV file."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as f:
            rows = list(csv.reader(f, strict=True))
        if any(len(row) != len(rows[0]) for row in rows):
            sys.exit(f"{path}: rows of different width")
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    srt = path.suffix == ".srt"
    if srt and path.stat().st_size == 0:
        return []  # SubRip has no header, so no cues are an empty file; webvtt-py does not accept that as SubRip
    cues = webvtt.from_srt(str(path)) if srt else webvtt.read(str(path))
    return [[c.start, c.end, c.raw_text if srt else html.unescape(c.text)] for c in cues]


args = sys.argv[1:]
whole = args[:1] == ["--cues"]
paths: list[Path] = []
for name in args[whole:]:
    path = Path(name)
    if path.is_dir():
        paths += sorted(p for p in path.iterdir() if p.suffix in (".vtt", ".srt", ".csv"))
    else:
        paths.append(path)
print(json.dumps([read(p) if whole else len(read(p)) for p in paths]))
