"""Reads an HLS media playlist named on the command line with m3u8, strictly; prints what it says as JSON."""
import json
import sys

import m3u8

with open(sys.argv[1], encoding="utf-8") as f:
    # HLS has comments; the strict parser knows none.
    lines = [line for line in f.read().splitlines() if not line.startswith("#") or line.startswith("#EXT")]
p = m3u8.M3U8("\n".join(lines) + "\n", strict=True)
print(json.dumps({
    "target": p.target_duration,
    "sequence": p.media_sequence,
    "discontinuities": p.discontinuity_sequence,
    "ended": p.is_endlist,
    "segments": [
        [s.uri, s.duration, s.discontinuity, s.program_date_time.timestamp() if s.program_date_time else None]
        for s in p.segments
    ],
    "variants": [[v.uri, v.stream_info.subtitles] for v in p.playlists],
    "media": [[m.type, m.group_id, m.uri, m.characteristics] for m in p.media],
}))
