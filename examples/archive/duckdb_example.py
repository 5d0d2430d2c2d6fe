"""Finds keyframes that look like a given one, with DuckDB, directly in the files of an archive.

pip install duckdb
python duckdb_example.py ARCHIVE VIDEO MILLISECONDS
"""

import sys

import duckdb

archive, video, ms = sys.argv[1:]
db = duckdb.connect()
db.execute(f"CREATE VIEW keyframes AS SELECT * FROM read_parquet('{archive}/videos/*/*/keyframes.parquet')")
# DuckDB reads a list of fixed size as a list; only arrays have distances, so the query casts it to one.
(width,) = db.execute("SELECT len(embedding) FROM keyframes LIMIT 1").fetchone()
rows = db.execute(
    f"""
    WITH query AS (SELECT embedding FROM keyframes WHERE video = ? AND keyframe_ms = ?)
    SELECT k.video, k.keyframe_ms, k.caption,
           round(array_cosine_similarity(k.embedding::FLOAT[{width}], q.embedding::FLOAT[{width}]), 3) AS similarity
    FROM keyframes k, query q ORDER BY similarity DESC, k.video, k.keyframe_ms LIMIT 5
    """,
    [video, int(ms)],
).fetchall()
for row in rows:
    print(*row, sep="\t")
