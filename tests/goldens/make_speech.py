"""Makes speech.json: probabilities and segments of speech.wav, by Silero's package (silero-vad 6.2.3, with torch).

speech.wav is `espeak-ng -v en-gb -s 150 "Good evening. The door is open."`, a plucked string, and
`espeak-ng -v en-us+f3 -s 165 "Where have you been? I waited for an hour."`, between brown noise, by sox.
"""

import json
import wave
from pathlib import Path

import numpy as np
import torch
from silero_vad import load_silero_vad
from silero_vad.utils_vad import get_speech_timestamps_from_probs

WINDOW = 512
FOLDER = Path(__file__).parent / "speech"

with wave.open(str(FOLDER / "speech.wav")) as file:
    sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
model = load_silero_vad(onnx=True)
windows = np.pad(sound, (0, -len(sound) % WINDOW)).reshape(-1, WINDOW)
probabilities = [model(torch.from_numpy(w), 16000).item() for w in windows]
segments = get_speech_timestamps_from_probs(probabilities, audio_length_samples=len(sound))
golden = {
    "samples": len(sound),
    "probabilities": [round(p, 6) for p in probabilities],
    "segments": [[s["start"], s["end"]] for s in segments],
}
(FOLDER / "speech.json").write_text(json.dumps(golden))
