"""Timestamped descriptions of videos, in Python.

    import descry

    for cue in descry.describe("film.mp4"):
        print(f"{cue.start:8.2f}  {cue.text}")

The functions run the program `descry`, which the wheel brings with it, and read the JSON that it prints. They take the
options of the command line: `describe(path, "--mode", "fast")`. They may be called from several threads.
"""

from __future__ import annotations

from descry._program import DescryError, DescryWarning, program
from descry._results import Cue, Line, Moment, describe, embed, embed_texts, search

__all__ = [
    "Cue",
    "DescryError",
    "DescryWarning",
    "Line",
    "Moment",
    "describe",
    "embed",
    "embed_texts",
    "program",
    "search",
]
