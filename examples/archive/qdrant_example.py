"""Loads an archive's keyframes into Qdrant and finds those that look like the first one.

It runs Qdrant in memory; use QdrantClient(url=…) for a server.

    pip install qdrant-client pyarrow
    descry archive export ARCHIVE -o all.parquet
    python qdrant_example.py all.parquet
"""

import sys

import pyarrow.parquet as pq
from qdrant_client import QdrantClient, models

BATCH = 10_000

file = pq.ParquetFile(sys.argv[1])
client = QdrantClient(":memory:")
width = file.schema_arrow.field("embedding").type.list_size
client.create_collection("keyframes", vectors_config=models.VectorParams(size=width, distance=models.Distance.COSINE))
first: list[float] = []
count = 0
for batch in file.iter_batches(BATCH):
    vectors = batch["embedding"].flatten().to_numpy().reshape(-1, width)
    if not count:
        first = vectors[0].tolist()
    rows = batch.drop_columns(["embedding"]).to_pylist()
    client.upload_collection("keyframes", vectors=vectors, payload=rows, ids=range(count, count + len(rows)))
    count += len(rows)
said = models.Filter(must=[models.FieldCondition(key="said", match=models.MatchValue(value=True))])
for point in client.query_points("keyframes", query=first, query_filter=said, limit=5).points:
    print(f"{point.score:.3f}", point.payload["video"], point.payload["keyframe_ms"], point.payload["caption"])
