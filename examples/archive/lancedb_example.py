"""Loads an archive's keyframes into a LanceDB table and finds those that look like the first one.

pip install lancedb pandas
descry archive export ARCHIVE -o all.parquet
python lancedb_example.py all.parquet lance/
"""

import sys

import lancedb
import pyarrow.parquet as pq

table = pq.read_table(sys.argv[1])
keyframes = lancedb.connect(sys.argv[2]).create_table("keyframes", table, mode="overwrite")
query = table["embedding"][0].values.to_numpy()
found = keyframes.search(query, vector_column_name="embedding").metric("cosine").where("said").limit(5)
print(found.select(["video", "keyframe_ms", "caption", "_distance"]).to_pandas().to_string(index=False))
