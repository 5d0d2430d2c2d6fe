"""Reads every file named on the command line with webvtt-py; prints the number of cues of each."""
import json
import sys

import webvtt

print(json.dumps([len(webvtt.from_srt(p)) if p.endswith(".srt") else len(webvtt.read(p)) for p in sys.argv[1:]]))
