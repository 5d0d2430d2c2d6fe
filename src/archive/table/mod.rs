//! A video's keyframes as Parquet: one row per keyframe that has an embedding, in order of time.
//!
//! The same rows give the same bytes. Neither the writer's nor the reader's memory grows with the table: the writer holds
//! one row group, the reader one batch.

mod lines;
mod pages;
mod reader;
mod row;
mod watched_file;
mod writer;

pub use reader::TableReader;
pub(crate) use row::{GROUP_ROWS, MAX_DIMENSION};
pub use row::{KeyframeRow, MOST_LINE_BYTES, MOST_LINES, TABLE_FORMAT, TextRow};
pub(crate) use writer::TableWriter;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use arrow_array::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::row::{BATCH_ROWS, GROUP_LINES, SPEECH, TEXT};
    use super::writer::properties;
    use super::*;

    fn text_row(n: usize, line: usize) -> TextRow {
        let share = line as f32 / 200.0;
        let text = format!("Line {line} “{n}”");
        let (start_ms, end_ms, kind) = (n as i64 * 1_000, n as i64 * 1_000 + 900, ["title", "static"][line % 2].into());
        TextRow { text, start_ms, end_ms, x: share, y: share, width: 0.5, height: 0.1, confidence: 0.875, kind }
    }

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
            speech: n.is_multiple_of(3).then_some(0.5),
            text: (!n.is_multiple_of(4)).then(|| (0..n % 4 - 1).map(|line| text_row(n, line)).collect()),
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

    /// The same table as an earlier version wrote it.
    fn without(columns: &[&str], table: Vec<u8>) -> Vec<u8> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(table)).unwrap().build().unwrap();
        let mut written = None;
        for batch in reader {
            let mut batch: RecordBatch = batch.unwrap();
            columns.iter().for_each(|column| drop(batch.remove_column(batch.schema().index_of(column).unwrap())));
            let schema = Arc::new(batch.schema().as_ref().clone());
            let writer =
                written.get_or_insert_with(|| ArrowWriter::try_new(Vec::new(), schema, Some(properties(8))).unwrap());
            writer.write(&batch).unwrap();
        }
        written.unwrap().into_inner().unwrap()
    }

    #[test]
    fn tables_of_earlier_versions_are_read() {
        let read = |columns: &[&str]| -> Vec<KeyframeRow> {
            let reader = TableReader::of_bytes("t", without(columns, table(20, 5, 8))).unwrap();
            reader.flat_map(|batch| batch.unwrap()).collect()
        };
        let first: Vec<_> = (0..20).map(|n| KeyframeRow { speech: None, text: None, ..row(n, 5) }).collect();
        assert_eq!(read(&[SPEECH, TEXT]), first);
        assert_eq!(read(&[TEXT]), (0..20).map(|n| KeyframeRow { text: None, ..row(n, 5) }).collect::<Vec<_>>());
    }

    fn with_lines(n: usize, lines: usize) -> KeyframeRow {
        KeyframeRow { text: Some((0..lines).map(|line| text_row(n, line)).collect()), ..row(n, 1) }
    }

    #[test]
    fn very_many_lines_make_row_groups_small() {
        let rows: Vec<KeyframeRow> = (0..GROUP_LINES / MOST_LINES + 50).map(|n| with_lines(n, MOST_LINES)).collect();
        let mut writer = TableWriter::new(Vec::new(), "t", 1, 8_192).unwrap();
        rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
        let bytes = writer.finish().unwrap();
        let groups = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone())).unwrap();
        assert_eq!(groups.metadata().num_row_groups(), 2);
        let read: Vec<KeyframeRow> = TableReader::of_bytes("t", bytes).unwrap().flat_map(|b| b.unwrap()).collect();
        assert!(read == rows, "the same rows");
    }

    /// Lines that repeat cost hardly a bit in a file, and much in memory.
    #[test]
    fn more_lines_than_descry_writes_are_refused() {
        let mut writer = TableWriter::new(Vec::new(), "t", 1, 8_192).unwrap();
        let cause = writer.push(with_lines(1, MOST_LINES + 1)).unwrap_err().to_string();
        assert!(cause.contains("201 lines of text"), "{cause}");
        let long = TextRow { text: "a".repeat(MOST_LINE_BYTES), ..text_row(1, 1) };
        let long = KeyframeRow { text: Some(vec![long]), ..row(1, 1) };
        assert!(writer.push(long.clone()).is_err());
        let foreign = |rows: &[KeyframeRow]| {
            let schema = row::schema(1);
            let batch = RecordBatch::try_new(schema.clone(), writer::columns(rows, 1)).unwrap();
            let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties(1 << 20))).unwrap();
            writer.write(&batch).unwrap();
            let reader = TableReader::of_bytes("t", writer.into_inner().unwrap());
            reader.and_then(|reader| reader.collect::<Result<Vec<_>, _>>()).err().map(|e| e.to_string())
        };
        assert_eq!(foreign(&[with_lines(1, MOST_LINES), row(2, 1)]), None);
        for rows in [
            vec![with_lines(1, MOST_LINES + 1), row(2, 1)],
            vec![with_lines(1, 400)],
            (0..400).map(|n| with_lines(n, MOST_LINES)).collect(),
            vec![long.clone()],
            vec![long; 300],
        ] {
            let cause = foreign(&rows).unwrap();
            assert!(cause.contains("too m") || cause.contains("more than"), "{cause}");
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

    /// Changes one byte after another. What can still be opened is read to its end.
    #[test]
    fn a_damaged_table_is_an_error() {
        let whole = table(300, 3, 100);
        for at in (0..whole.len()).step_by(97) {
            let cut = TableReader::of_bytes("t", whole[..at].to_vec());
            assert!(cut.is_err(), "cut at {at}");
        }
        for (n, at) in (0..whole.len()).step_by(11).enumerate() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x5a, 0xff, 0x80, 0x01][n % 4];
            // Changed values look like any others here; only the record has their hash.
            if let Ok(reader) = TableReader::of_bytes("t", bytes) {
                reader.for_each(drop);
            }
        }
    }

    /// The Parquet reader allocates what a page's header asks for: these few bytes would take 3 GB.
    #[test]
    fn a_page_that_claims_gigabytes_is_refused() {
        let whole = table(300, 3, 100);
        // A data page of 100 integers.
        let header = [0x15, 0x00, 0x15];
        let mut refused = 0;
        for at in 4..whole.len() - 16 {
            if whole[at..].starts_with(&header) && whole[at + 3] & 0x80 != 0 {
                let mut bytes = whole.clone();
                // Takes the place of the next fields too: the size is what counts here.
                bytes[at + 3..at + 8].copy_from_slice(&[0x80, 0xe0, 0xde, 0xe6, 0x16]);
                let cause = TableReader::of_bytes("t", bytes).err().expect("an impossible page").to_string();
                assert!(cause.contains("page") && !cause.contains("are broken"), "{cause}");
                refused += 1;
            }
        }
        assert!(refused >= 15, "{refused}");
    }

    /// A text of a dictionary costs its bytes once in the file, and once per row in memory.
    #[test]
    fn large_texts_make_batches_small() {
        let mut writer = TableWriter::new(Vec::new(), "t", 3, 8_192).unwrap();
        let caption = Some("a".repeat(900_000));
        (0..600).for_each(|n| writer.push(KeyframeRow { caption: caption.clone(), ..row(n, 3) }).unwrap());
        let bytes = writer.finish().unwrap();
        assert!(bytes.len() < 200_000, "{}", bytes.len());
        let mut rows = 0;
        for batch in TableReader::of_bytes("t", bytes).unwrap() {
            let batch = batch.unwrap();
            assert!(batch.len() < 80, "{}", batch.len());
            rows += batch.len();
        }
        assert_eq!(rows, 600);
        let mut writer = TableWriter::new(Vec::new(), "t", 3, 8).unwrap();
        writer.push(KeyframeRow { caption: Some("a".repeat(2_000_000)), ..row(1, 3) }).unwrap();
        let mut reader = TableReader::of_bytes("t", writer.finish().unwrap()).unwrap();
        assert!(reader.next().unwrap().unwrap_err().to_string().contains("a text of more than"));
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
