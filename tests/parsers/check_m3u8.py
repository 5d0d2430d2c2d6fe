"""Reads an HLS media playlist named on the command line with m3u8, strictly; prints its contents as JSON."""

import json
import sys
from pathlib import Path

import m3u8

# HLS has comments; the strict parser does not accept them.
lines = [
    line
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    if not line.startswith("#") or line.startswith("#EXT")
]
p = m3u8.M3U8("\n".join(lines) + "\n", strict=True)
contents = {
    "target": p.target_duration,
    "sequence": p.media_sequence,
    "discontinuities": p.discontinuity_sequence,
    "ended": p.is_endlist,
    "segments": [
        [s.uri, s.duration, s.discontinuity, s.program_date_time.timestamp() if s.program_date_time else None]
        for s in p.segments
    ],
    "variants": [[v.uri, v.stream_info.subtitles] for v in p.playlists],
    "media": [[m.type, m.group_id, m.uri, m.characteristics, m.default, m.autoselect] for m in p.media],
}
print(json.dumps(contents))
