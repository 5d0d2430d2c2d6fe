"""A voice for the tests: a tone that rises from 500 to 3,000 Hz, as long as its text has twentieths of seconds.

voice.py [SPEED [RATE]]: text on standard input, WAV on standard output.
"""

import math
import struct
import sys

RATE = 24_000
PER_CHARACTER = 0.05

text = sys.stdin.read().strip()
shown = int(sys.argv[2]) if len(sys.argv) > 2 else RATE
speed = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
count = round(len(text) * PER_CHARACTER * RATE / speed)
samples = []
for n in range(count):
    secs = n / RATE
    phase = 2 * math.pi * (500 * secs + 1_250 * secs * secs / (count / RATE))
    samples.append(round(9_000 * math.sin(phase + 0.5)))
data = struct.pack(f"<{count}h", *samples)
parts = (36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, shown, shown * 2, 2, 16, b"data", len(data))
header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", *parts)
sys.stdout.buffer.write(header + data)
