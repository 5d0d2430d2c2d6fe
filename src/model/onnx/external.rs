//! Which other files a graph takes its weights from.
//!
//! Every field of every message is followed, in whatever order and however often it comes, because a reader of protocol
//! buffers merges repeated messages. So no tensor that ONNX Runtime sees is left out.

use std::collections::BTreeSet;

use super::wire::{Field, read};

/// Most messages inside one another. ONNX Runtime's own reader allows 100.
const DEEPEST: usize = 100;

/// What a message is, and so what its fields mean.
#[derive(Clone, Copy)]
enum OnnxMessage {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Tensor,
    SparseTensor,
}

impl OnnxMessage {
    /// The message in a field, if it can hold tensors. The numbers are those of `onnx.proto`.
    fn inside(self, field: u64) -> Option<OnnxMessage> {
        use OnnxMessage::*;
        Some(match (self, field) {
            (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
            (Model, 20) => Training,
            (Model, 25) => Function,
            (Graph, 1) | (Function, 7) => Node,
            (Graph, 5) | (Attribute, 5 | 10) | (SparseTensor, 1 | 2) => Tensor,
            (Graph, 15) | (Attribute, 22 | 23) => SparseTensor,
            (Node, 5) | (Function, 11) => Attribute,
            _ => return None,
        })
    }
}

/// The names of the files that a model's tensors lie in, as the model gives them; `None` if the bytes are not a model.
pub(crate) fn external_files(model: &[u8]) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    visit(OnnxMessage::Model, model, 0, &mut found)?;
    Some(found)
}

fn visit(message: OnnxMessage, bytes: &[u8], depth: usize, found: &mut BTreeSet<String>) -> Option<()> {
    if depth > DEEPEST {
        return None;
    }
    for field in read(bytes)? {
        if let Some(inside) = message.inside(field.number()) {
            visit(inside, field.borrowed_bytes()?, depth + 1, found)?;
        } else if matches!(message, OnnxMessage::Tensor) && field.number() == 13 {
            found.extend(location(&field)?);
        }
    }
    Some(())
}

/// The file in an entry of `external_data`: a key and a value.
fn location(entry: &Field<'_>) -> Option<Vec<String>> {
    let fields = read(entry.as_bytes()?)?;
    let texts = |number| {
        let texts = fields.iter().filter(move |f| f.number() == number);
        texts.map(|f| Some(std::str::from_utf8(f.as_bytes()?).ok()?.to_string())).collect::<Option<Vec<_>>>()
    };
    let keys = texts(1)?;
    if keys.iter().any(|key| key == "location") { texts(2) } else { Some(Vec::new()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::onnx::wire::write;

    fn inside(number: u64, fields: &[Field<'_>]) -> Field<'static> {
        Field::bytes(number, write(fields))
    }

    fn tensor(number: u64, file: &str) -> Field<'static> {
        let entry = [Field::bytes(1, b"location".to_vec()), Field::bytes(2, file.as_bytes().to_vec())];
        let length = [Field::bytes(1, b"length".to_vec()), Field::bytes(2, b"7".to_vec())];
        inside(number, &[Field::bytes(8, b"w".to_vec()), inside(13, &entry), inside(13, &length)])
    }

    #[test]
    fn every_place_of_a_tensor_is_seen() {
        let branch = inside(1, &[inside(5, &[inside(6, &[tensor(5, "branch")])])]);
        let constant = inside(1, &[inside(5, &[tensor(5, "constant")])]);
        let sparse = inside(15, &[tensor(1, "values"), tensor(2, "indices")]);
        let function = inside(25, &[inside(7, &[inside(5, &[tensor(10, "function")])])]);
        let model = write(&[
            inside(7, &[tensor(5, "first"), branch]),
            // The same message again: readers merge them.
            inside(7, &[tensor(5, "second"), constant, sparse]),
            inside(20, &[inside(1, &[tensor(5, "training")])]),
            function,
        ]);
        let want = ["branch", "constant", "first", "function", "indices", "second", "training", "values"];
        assert_eq!(external_files(&model).unwrap(), want.map(String::from).into());
    }

    #[test]
    fn what_is_too_deep_or_broken_is_no_model() {
        let mut graph = Field::bytes(7, Vec::new());
        for _ in 0..200 {
            graph = inside(6, &[inside(1, &[inside(5, &[graph])])]);
        }
        assert!(external_files(&write(&[inside(7, &[inside(1, &[inside(5, &[graph])])])])).is_none());
        assert!(external_files(b"\x3a\x7f").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            external_files(&bytes);
        }
    }
}
