//! Changes to the graph of a decoder before ONNX Runtime reads it, so that pictures can share a batch at little cost.
//!
//! ```text
//! logits      only for the last vectors of a prompt
//! scale       integers with a scale for each picture instead of one for the batch
//! ```
//!
//! Results stay the same: sums of integers are exact, and floats are computed in the same order. A graph in which an
//! operation is not as expected keeps it.

mod logits;
mod scale;

use crate::model::onnx::OnnxModel;

/// A graph that was changed. It refers to the weights in the file that it was read from.
pub(super) struct RewrittenGraph {
    pub(super) bytes: Vec<u8>,
    /// Whether its integers have a scale for each picture.
    pub(super) scaled_by_picture: bool,
}

/// Changes a decoder's graph, which is in the file of this name; `None` if there is nothing to change, or the bytes are
/// not a graph.
pub(super) fn rewrite_decoder(bytes: &[u8], file: &str) -> Option<RewrittenGraph> {
    let mut model = OnnxModel::read(bytes)?;
    if model.nodes.iter().any(|node| node.has_graphs()) {
        return None;
    }
    let scaled_by_picture = scale::scale_by_picture(&mut model);
    let last = logits::keep_last(&mut model);
    (last || scaled_by_picture).then(|| RewrittenGraph { bytes: model.write(file), scaled_by_picture })
}

/// The bytes of a changed graph, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn rewritten_graph(bytes: &[u8]) -> Option<Vec<u8>> {
    rewrite_decoder(bytes, "decoder.onnx").map(|graph| graph.bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::onnx::Node;

    fn decoder(variant: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/hub/onnx");
        std::fs::read(folder.join(format!("decoder_model_merged{variant}.onnx"))).unwrap()
    }

    fn count(bytes: &[u8], operator: &str) -> usize {
        OnnxModel::read(bytes).unwrap().nodes.iter().filter(|n| n.operator == operator).count()
    }

    /// The decoder with a change.
    fn changed(change: impl Fn(&mut Vec<Node>)) -> Option<RewrittenGraph> {
        let bytes = decoder("_uint8");
        let mut model = OnnxModel::read(&bytes).unwrap();
        change(&mut model.nodes);
        rewrite_decoder(&model.write("x"), "x")
    }

    #[test]
    fn floats_keep_their_graph_but_for_the_last_vectors() {
        let bytes = decoder("");
        let rewritten = rewrite_decoder(&bytes, "x").unwrap();
        assert!(!rewritten.scaled_by_picture);
        assert_eq!(count(&rewritten.bytes, "Slice"), count(&bytes, "Slice") + 1);
        assert!(rewrite_decoder(&rewritten.bytes[1..], "x").is_none(), "not a graph");
    }

    #[test]
    fn no_scale_is_that_of_the_batch() {
        let bytes = decoder("_uint8");
        assert!(count(&bytes, "DynamicQuantizeLinear") > 0);
        let rewritten = rewrite_decoder(&bytes, "x").unwrap();
        assert!(rewritten.scaled_by_picture);
        assert_eq!(count(&rewritten.bytes, "DynamicQuantizeLinear"), 0);
        assert_eq!(count(&rewritten.bytes, "MatMulInteger"), count(&bytes, "MatMulInteger"));
    }

    proptest! {
        #[test]
        fn a_damaged_graph_does_not_panic(cut in 0_usize..60_000, at in 0_usize..60_000, byte: u8) {
            let mut bytes = decoder("_uint8");
            let at = at % bytes.len();
            bytes[at] = byte;
            rewrite_decoder(&bytes, "x");
            bytes.truncate(cut);
            rewrite_decoder(&bytes, "x");
        }
    }

    #[test]
    fn a_graph_that_is_not_as_expected_keeps_its_scales() {
        let products = |nodes: &mut Vec<Node>, change: &dyn Fn(&mut Node)| {
            nodes.iter_mut().filter(|n| n.operator == "MatMulInteger").take(1).for_each(change);
        };
        let computed = changed(|nodes| products(nodes, &|n| n.inputs[1] = "logits".into()));
        let unscaled = changed(|nodes| products(nodes, &|n| n.inputs[2] = String::new()));
        let convolved = changed(|nodes| products(nodes, &|n| n.operator = "ConvInteger".into()));
        for rewritten in [computed, unscaled, convolved] {
            assert!(rewritten.is_none_or(|graph| !graph.scaled_by_picture));
        }
    }
}
