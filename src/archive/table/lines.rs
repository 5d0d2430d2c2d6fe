//! The column with the lines of text of each row.

use std::sync::Arc;

use arrow_array::builder::{NullBufferBuilder, OffsetBufferBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float32Array, Int64Array, ListArray, StringArray, StructArray};
use parquet::errors::ParquetError;

use super::row::{KeyframeRow, MOST_LINE_BYTES, MOST_LINES, TextRow, line, line_fields};

/// The lines of some rows.
pub(super) fn line_column(rows: &[KeyframeRow]) -> ArrayRef {
    let (mut lengths, mut known) = (OffsetBufferBuilder::new(rows.len()), NullBufferBuilder::new(rows.len()));
    for row in rows {
        lengths.push_length(row.text.as_ref().map_or(0, Vec::len));
        known.append(row.text.is_some());
    }
    let all: Vec<&TextRow> = rows.iter().flat_map(|r| r.text.as_deref().unwrap_or_default()).collect();
    let text = |value: &dyn Fn(&TextRow) -> &str| -> ArrayRef {
        let mut column = StringBuilder::new();
        all.iter().for_each(|line| column.append_value(value(line)));
        Arc::new(column.finish())
    };
    let long = |value: &dyn Fn(&TextRow) -> i64| -> ArrayRef {
        Arc::new(all.iter().map(|line| Some(value(line))).collect::<Int64Array>())
    };
    let float = |value: &dyn Fn(&TextRow) -> f32| -> ArrayRef {
        Arc::new(all.iter().map(|line| Some(value(line))).collect::<Float32Array>())
    };
    let columns = vec![
        text(&|l| &l.text),
        long(&|l| l.start_ms),
        long(&|l| l.end_ms),
        float(&|l| l.x),
        float(&|l| l.y),
        float(&|l| l.width),
        float(&|l| l.height),
        float(&|l| l.confidence),
        text(&|l| &l.kind),
    ];
    let values = StructArray::new(line_fields(), columns, None);
    Arc::new(ListArray::new(Arc::new(line()), lengths.finish(), Arc::new(values), known.finish()))
}

/// The column as it is read.
pub(super) struct LineColumns<'a> {
    lists: &'a ListArray,
    texts: [&'a StringArray; 2],
    times: [&'a Int64Array; 2],
    numbers: [&'a Float32Array; 5],
}

impl<'a> LineColumns<'a> {
    /// None if it is not of lines.
    pub(super) fn of(column: &'a ArrayRef) -> Option<LineColumns<'a>> {
        let lists = column.as_list_opt::<i32>()?;
        let values = lists.values().as_struct_opt()?;
        let text = |n: usize| values.columns().get(n)?.as_string_opt::<i32>();
        let time = |n: usize| values.columns().get(n)?.as_primitive_opt::<Int64Type>();
        let number = |n: usize| values.columns().get(n)?.as_primitive_opt::<Float32Type>();
        Some(LineColumns {
            lists,
            texts: [text(0)?, text(8)?],
            times: [time(1)?, time(2)?],
            numbers: [number(3)?, number(4)?, number(5)?, number(6)?, number(7)?],
        })
    }

    /// The lines of a row.
    pub(super) fn row(&self, row: usize) -> Result<Option<Vec<TextRow>>, ParquetError> {
        if self.lists.is_null(row) {
            return Ok(None);
        }
        let offsets = self.lists.value_offsets();
        let lines = offsets[row] as usize..offsets[row + 1] as usize;
        let bytes = lines.clone().map(|n| self.texts[0].value(n).len() + self.texts[1].value(n).len()).sum::<usize>();
        if lines.len() > MOST_LINES || bytes > MOST_LINE_BYTES {
            return Err(ParquetError::General("a keyframe with too much text".into()));
        }
        let mut kind: Arc<str> = "".into();
        let line = |n: usize| {
            if *kind != *self.texts[1].value(n) {
                kind = self.texts[1].value(n).into();
            }
            let [x, y, width, height, confidence] = self.numbers.map(|column| column.value(n));
            let [start_ms, end_ms] = self.times.map(|column| column.value(n));
            let text = self.texts[0].value(n).to_string();
            TextRow { text, start_ms, end_ms, x, y, width, height, confidence, kind: kind.clone() }
        };
        Ok(Some(lines.map(line).collect()))
    }
}
