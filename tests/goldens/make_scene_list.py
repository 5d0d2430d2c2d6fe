"""Writes scene_list.csv: a list of scenes as PySceneDetect's own `write_scene_list` writes it.

The tests compare the CSV output with it. It needs `pip install scenedetect==0.7.2 opencv-python-headless`.
"""

import itertools
from pathlib import Path

from scenedetect import FrameTimecode
from scenedetect.output import write_scene_list

CUTS = [0, 50, 150, 175, 90_000]


def at(frame: int) -> FrameTimecode:
    return FrameTimecode(frame, fps=25.0)


scenes = [(at(start), at(end)) for start, end in itertools.pairwise(CUTS)]
with (Path(__file__).parent / "scene_list.csv").open("w", newline="", encoding="utf-8") as file:
    write_scene_list(file, scenes, include_cut_list=False)
