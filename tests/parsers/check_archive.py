"""Reads an archive's tables with pyarrow, pandas and DuckDB, and prints what they found as JSON.

usage: check_archive.py ARCHIVE ALL.parquet
"""

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

archive, everything = sys.argv[1:]
files = sorted(Path(archive).glob("videos/*/*/keyframes.parquet"))
tables = [pq.read_table(f) for f in files]
kind = tables[0].schema.field("embedding").type
assert pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32(), kind
whole = pa.concat_tables(tables)
exported = pq.read_table(everything)
assert exported.equals(whole), "the export differs from the files"
about = json.loads(pq.read_metadata(files[0]).metadata[b"descry"])

frame = pd.read_parquet(everything)
embeddings = np.stack(frame.embedding)
lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)

db = duckdb.connect()
db.execute(f"CREATE VIEW k AS SELECT * FROM read_parquet('{archive}/videos/*/*/keyframes.parquet')")
columns = (
    "video, start_ms, end_ms, keyframe_ms, scene, transition, caption, said, score, mean_logprob, repeats, "
    "speech, text, thumbnail, model, model_hash"
)
rows = db.execute(f"SELECT {columns} FROM k ORDER BY video, start_ms").fetchall()
sums = [r[0] for r in db.execute("SELECT list_sum(list_transform(embedding, lambda x: x * x)) FROM k").fetchall()]

print(
    json.dumps(
        {
            "format": about["format"],
            "width": kind.list_size,
            "pyarrow": whole.num_rows,
            "pandas": len(frame),
            "duckdb": len(rows),
            "longest": float(max(abs(lengths - 1))),
            "longest_duckdb": float(max(abs(s - 1) for s in sums)),
            "rows": [dict(zip(columns.split(", "), r, strict=True)) for r in rows],
        }
    )
)
