//! Keeps the files of an index few and full.

use super::database::{begin, commit};
use super::fault::IndexFault;
use super::snapshot::IndexSnapshot;
use super::vector_file::VectorFile;
use super::vector_writer::VectorFileBuilder;
use super::writer::IndexWriter;

/// Files of one model that may be less than half full before they are merged. A scan is as fast over a few small files as
/// over one; every merge copies rows.
const MAX_SMALL_FILES: usize = 8;

impl IndexWriter {
    /// Merges small files, and drops the rows of videos that are gone.
    pub(super) fn compact(&mut self) -> Result<(), IndexFault> {
        let now = IndexSnapshot::read(&self.folder, &self.db)?;
        // In the snapshot's order. Read before the first merge, which changes the list.
        let names: Vec<String> = {
            let mut names = self.db.prepare("SELECT name FROM segments ORDER BY name")?;
            names.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?
        };
        for model in &now.models {
            let capacity = VectorFileBuilder::new(model.dimension).capacity();
            let mut small = Vec::new();
            let mut mostly_gone = false;
            for (name, (_, file)) in names.iter().zip(&now.files).filter(|(_, (m, _))| *m == model.id) {
                let alive = file.videos().iter().filter(|v| now.has_video(**v)).count();
                if 2 * alive < capacity.min(file.rows()) || 2 * file.rows() < capacity {
                    small.push((name.as_str(), file));
                    mostly_gone |= 2 * alive < file.rows();
                }
            }
            if small.len() > MAX_SMALL_FILES || mostly_gone {
                self.merge(&now, model.id, model.dimension, &small)?;
            }
        }
        Ok(())
    }

    /// Replaces files of one model by new ones with the rows of videos that are still there.
    fn merge(
        &mut self,
        now: &IndexSnapshot,
        model: i64,
        dimension: usize,
        files: &[(&str, &VectorFile)],
    ) -> Result<(), IndexFault> {
        let mut builder = VectorFileBuilder::new(dimension);
        begin(&self.db)?;
        for (name, file) in files {
            self.db.execute("DELETE FROM segments WHERE name = ?1", [name])?;
            for row in 0..file.rows() {
                let facts = file.facts(row);
                if now.has_video(facts.video) {
                    builder.push(facts, file.embedding(row));
                }
                if builder.is_full() {
                    self.write_file(model, &mut builder)?;
                }
            }
        }
        if builder.rows() > 0 {
            self.write_file(model, &mut builder)?;
        }
        commit(&self.db)?;
        self.remove_unnamed_files()
    }
}
