//! Sessions for a few runs, which read their weights where the file was read to.
//!
//! ONNX Runtime otherwise copies weights, and on its way to one result, that is most of the work. Memory: the bytes of the
//! graph, and the largest of its matrices as floats.

use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::sys;
use ort::value::DynValue;

use crate::error::Result;
use crate::model::folder::ModelFolder;
use crate::model::onnx::{InPlaceGraph, StoredConstant, element, in_place};
use crate::model::runtime::{
    EXTERNAL_WEIGHTS, Preparation, ReadGraph, Runtime, SessionOptions, loaded_as_it_is, refused_option,
};

/// The graph of a text tower in memory, before there is a session of it.
pub(crate) struct TextGraph {
    read: ReadGraph,
    in_place: Option<InPlace>,
}

/// A changed graph, and the bytes with its weights.
struct InPlace {
    graph: InPlaceGraph,
    weights: Arc<[u8]>,
}

/// A session, and the bytes that it reads its weights in, if it has none of its own.
pub(crate) struct BackedSession {
    /// Before the bytes: fields are dropped in this order.
    session: Session,
    weights: Option<Arc<[u8]>>,
}

impl TextGraph {
    /// Reads a graph of a model folder.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) if its files are not those of the manifest.
    pub(crate) fn read(folder: &ModelFolder, graph: &str, options: &SessionOptions) -> Result<TextGraph> {
        if !options.few_texts {
            return Ok(TextGraph { read: ReadGraph::of(folder, graph, options)?, in_place: None });
        }
        let read = ReadGraph::unchanged(folder, graph)?;
        let in_place = read.changeable(options).and_then(|bytes| InPlace::of(bytes, &folder.dir().join(graph)));
        Ok(TextGraph { read, in_place })
    }

    /// Builds the session.
    ///
    /// # Errors
    /// ONNX Runtime cannot run the graph.
    pub(crate) fn session(
        self,
        runtime: &Runtime,
        (folder, graph): (&ModelFolder, &str),
        options: &SessionOptions,
    ) -> Result<BackedSession> {
        let in_place = self
            .in_place
            .and_then(|in_place| in_place.session(runtime, options).inspect_err(|e| loaded_as_it_is(graph, e)).ok());
        let own = || runtime.session_of_read(folder, self.read, options);
        in_place.map_or_else(|| Ok(BackedSession { session: own()?, weights: None }), Ok)
    }
}

impl InPlace {
    /// `None` if the graph's weights are not those of [`in_place`].
    fn of(bytes: &Arc<[u8]>, file: &Path) -> Option<InPlace> {
        in_place(bytes, file).map(|graph| InPlace { graph, weights: bytes.clone() })
    }

    fn session(self, runtime: &Runtime, options: &SessionOptions) -> Result<BackedSession> {
        let InPlace { graph: InPlaceGraph { bytes, constants, file }, weights } = self;
        let failed = |e: ort::Error<_>| refused_option(e.into());
        let mut builder = runtime.builder(Preparation::None, options)?;
        if let Some(dir) = file.parent() {
            builder = builder.with_config_entry(EXTERNAL_WEIGHTS, dir.display().to_string()).map_err(failed)?;
        }
        for constant in &constants {
            // SAFETY: the session that is built gets its own reference to the bytes, and is dropped before it.
            let value = unsafe { constant_in(&weights, constant) }.map_err(refused_option)?;
            builder = builder.with_initializer(&constant.name, value).map_err(failed)?;
        }
        let session = builder.commit_from_memory(&bytes).map_err(refused_option)?;
        Ok(BackedSession { session, weights: Some(weights) })
    }
}

impl BackedSession {
    /// Whether it adds sums in an order that depends on how many rows there are: then it is to be given one at a time.
    pub(crate) fn takes_single_rows(&self) -> bool {
        self.weights.is_some()
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// A tensor whose values are in these bytes. The crate makes such tensors too, but sessions take none that it makes of
/// borrowed memory.
///
/// # Errors
/// The shape does not fit the values.
///
/// # Safety
/// The bytes must outlive the tensor, and whatever it was given to.
unsafe fn constant_in(bytes: &[u8], constant: &StoredConstant) -> ort::Result<DynValue> {
    let values = bytes.get(constant.values.clone()).unwrap_or_default();
    let kind = if constant.element == element::INT8 {
        sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8
    } else {
        sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
    };
    let mut value = ptr::null_mut();
    // SAFETY: ONNX Runtime compares the shape with the length, and does not write to what a session is given as a constant.
    let status = unsafe {
        (ort::api().CreateTensorWithDataAsOrtValue)(
            MemoryInfo::default().ptr(),
            values.as_ptr().cast_mut().cast(),
            values.len(),
            constant.dims.as_ptr(),
            constant.dims.len(),
            kind,
            &raw mut value,
        )
    };
    // SAFETY: the status of the call above.
    unsafe { ort::Error::result_from_status(status) }?;
    let value = NonNull::new(value).ok_or_else(|| ort::Error::new("no tensor was made"))?;
    // SAFETY: nothing else has the new tensor. Its memory is the caller's, so it is not given back to an allocator.
    Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
}

#[cfg(test)]
mod tests {
    use ort::value::Tensor;

    use super::*;
    fn embedding(session: &mut Session) -> Vec<f32> {
        let ids: Vec<i64> = [101, 10165, 102].into_iter().chain(std::iter::repeat(0)).take(32).collect();
        let outputs = session.run(ort::inputs!["ids" => Tensor::from_array(([1, 32], ids)).unwrap()]).unwrap();
        outputs["embedding"].try_extract_tensor::<f32>().unwrap().1.to_vec()
    }

    #[test]
    fn results_are_those_of_the_graph_as_it_is() {
        let (folder, file) =
            (tempfile::tempdir().unwrap(), concat!(env!("CARGO_MANIFEST_DIR"), "/models/builtin/text.onnx"));
        let bytes: Arc<[u8]> = std::fs::read(file).unwrap().into();
        let runtime = Runtime::load().unwrap();
        let options = SessionOptions { threads: 1, ..SessionOptions::default() };
        let mut plain = runtime.builder(Preparation::None, &options).unwrap().commit_from_memory(&bytes).unwrap();
        let wanted = embedding(&mut plain);
        // As a link of the hub's cache, out of the folder.
        let link = folder.path().join("link.onnx");
        std::os::unix::fs::symlink(file, &link).unwrap();
        for file in [Path::new(file), &link] {
            let in_place = InPlace::of(&bytes, file).unwrap();
            assert!(in_place.graph.bytes.len() < bytes.len() / 20);
            let mut session = in_place.session(runtime, &options).unwrap();
            assert_eq!(
                [embedding(session.session_mut()), embedding(session.session_mut())],
                [wanted.clone(), wanted.clone()]
            );
        }
    }

    #[test]
    fn a_shape_that_does_not_fit_is_an_error() {
        Runtime::load().unwrap();
        let constant = |dims| StoredConstant { name: "w".into(), dims, element: element::INT8, values: 1..7 };
        // SAFETY: the tensors are dropped at once.
        let made = |dims| unsafe { constant_in(b"0123456789", &constant(dims)) };
        let value = made(vec![2, 3]).unwrap();
        assert_eq!(value.try_extract_tensor::<i8>().unwrap().1, b"123456".map(u8::cast_signed));
        assert!(made(vec![7]).is_err() && made(vec![-6]).is_err());
    }
}
