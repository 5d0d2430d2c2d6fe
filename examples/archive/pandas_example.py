"""Counts the captions of an archive with pandas, and finds similar keyframes with one matrix product.

pip install pandas pyarrow
descry archive export ARCHIVE -o all.parquet
python pandas_example.py all.parquet
"""

import sys

import numpy as np
import pandas as pd

keyframes = pd.read_parquet(sys.argv[1])
said = keyframes[keyframes.said & ~keyframes.repeats]
print(said.groupby("video").caption.count().to_string())
# Embeddings have length 1, so their product is the cosine.
embeddings = np.stack(keyframes.embedding)
similarity = embeddings @ embeddings[0]
best = keyframes.assign(similarity=similarity.round(3)).nlargest(5, "similarity")
print(best[["video", "keyframe_ms", "caption", "similarity"]].to_string(index=False))
