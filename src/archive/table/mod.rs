//! A video's keyframes as Parquet: one row per keyframe that has an embedding, in order of time.
//!
//! The same rows give the same bytes. Neither the writer's nor the reader's memory grows with the table: the writer holds
//! one row group, the reader one batch.

mod reader;
mod row;
mod writer;

pub use reader::TableReader;
pub(crate) use row::GROUP_ROWS;
pub use row::{KeyframeRow, TABLE_FORMAT};
pub(crate) use writer::TableWriter;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::row::BATCH_ROWS;
    use super::*;

    fn row(n: usize, dimension: usize) -> KeyframeRow {
        KeyframeRow {
            video: "/films/a.mp4".into(),
            start_ms: n as i64 * 1_000,
            end_ms: n as i64 * 1_000 + 999,
            keyframe_ms: n as i64 * 1_000 + 500,
            scene: n as i32 + 1,
            transition: if n.is_multiple_of(3) { "cut" } else { "fade" }.into(),
            caption: n.is_multiple_of(2).then(|| format!("Number {n} “…”.")),
            said: n.is_multiple_of(4),
            score: n.is_multiple_of(5).then_some(0.25),
            mean_logprob: Some(-0.5),
            repeats: n.is_multiple_of(7),
            thumbnail: Some(format!("videos/{n}.jpg")),
            model: "m 1".into(),
            model_hash: "ab".into(),
            embedding: (0..dimension).map(|d| (n * 31 + d) as f32).collect(),
        }
    }

    fn table(rows: usize, dimension: usize, group: usize) -> Vec<u8> {
        let mut writer = TableWriter::new(Vec::new(), "t", dimension, group).unwrap();
        (0..rows).for_each(|n| writer.push(row(n, dimension)).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn rows_round_trip_and_give_the_same_bytes() {
        for (rows, group) in [(0, 8), (1, 8), (BATCH_ROWS, GROUP_ROWS), (BATCH_ROWS * 3 + 7, 300)] {
            let bytes = table(rows, 5, group);
            assert_eq!(bytes, table(rows, 5, group));
            let reader = TableReader::of_bytes("t", bytes).unwrap();
            assert_eq!((reader.rows(), reader.dimension()), (rows, 5));
            let batches: Vec<Vec<KeyframeRow>> = reader.map(|b| b.unwrap()).collect();
            assert!(batches.iter().all(|b| b.len() <= BATCH_ROWS));
            assert_eq!(batches.concat(), (0..rows).map(|n| row(n, 5)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        assert!(TableWriter::new(Vec::new(), "t", 0, 8).is_err());
        let mut writer = TableWriter::new(Vec::new(), "t", 4, 8).unwrap();
        assert!(writer.push(row(1, 5)).unwrap_err().to_string().contains("5 values"));
        assert!(TableReader::of_bytes("t", b"PAR1PAR1".to_vec()).is_err());
        assert!(TableReader::of_bytes("t", Vec::new()).is_err());
    }

    /// A panic would be caught, but its message would be printed: this test shows what users see.
    #[test]
    fn a_damaged_table_is_an_error_not_a_panic() {
        let whole = table(300, 3, 100);
        for at in (0..whole.len()).step_by(97) {
            let cut = TableReader::of_bytes("t", whole[..at].to_vec());
            assert!(cut.is_err(), "cut at {at}");
        }
        for at in (0..whole.len()).step_by(11) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            // Changed values look like any others here; only the record has their hash.
            if let Ok(reader) = TableReader::of_bytes("t", bytes) {
                reader.for_each(drop);
            }
        }
    }

    #[test]
    fn a_full_disk_is_reported() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let error = TableWriter::new(Full, "t", 3, 8).and_then(|mut w| {
            (0..BATCH_ROWS).try_for_each(|n| w.push(row(n, 3)))?;
            w.finish().map(drop)
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("t: the disk is full"), "{error}");
    }
}
