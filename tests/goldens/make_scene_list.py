"""Writes scene_list.csv: a list of scenes as PySceneDetect's own `write_scene_list` gives it, which is what the CSV output
is compared with. Needs `pip install scenedetect==0.7.2 opencv-python-headless`.
"""
import os

from scenedetect import FrameTimecode
from scenedetect.output import write_scene_list

CUTS = [0, 50, 150, 175, 90_000]


def at(frame):
    return FrameTimecode(frame, fps=25.0)


scenes = [(at(a), at(b)) for a, b in zip(CUTS, CUTS[1:])]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "scene_list.csv"), "w", newline="", encoding="utf-8") as f:
    write_scene_list(f, scenes, include_cut_list=False)
