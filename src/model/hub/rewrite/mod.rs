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

    /// The operators of a changed decoder with a scale for each picture; `None` if it keeps its own.
    fn scaled(change: impl Fn(&mut Node)) -> Option<Vec<String>> {
        let bytes = decoder("_uint8");
        let mut model = OnnxModel::read(&bytes).unwrap();
        model.nodes.iter_mut().filter(|n| n.operator == "MatMulInteger").for_each(change);
        scale::scale_by_picture(&mut model).then(|| model.nodes.into_iter().map(|n| n.operator).collect())
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
    fn zero_points_of_weights_are_subtracted_beforehand_if_they_are_constant() {
        let bytes = decoder("_uint8");
        let (before, rewritten) = (OnnxModel::read(&bytes).unwrap(), rewrite_decoder(&bytes, "x").unwrap());
        let after = OnnxModel::read(&rewritten.bytes).unwrap();
        let (weights, sums) = (before.constants(), after.constants());
        for product in before.nodes.iter().filter(|n| n.operator == "MatMulInteger") {
            let [_, name, _, zero] = product.inputs.as_slice() else { panic!("{product:?}") };
            let (values, zero) = (&weights[name.as_str()], &weights[zero.as_str()].values);
            let columns = usize::try_from(values.dims[1]).unwrap();
            let centred =
                |n: usize| i32::from(values.values[n]) - i32::from(zero[if zero.len() > 1 { n % columns } else { 0 }]);
            let wanted: Vec<i32> =
                (0..columns).map(|c| (c..values.values.len()).step_by(columns).map(centred).sum()).collect();
            let found = &sums[format!("descry/scale/sums/{name}/{}", product.inputs[3]).as_str()].values;
            let found: Vec<i32> = found.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect();
            assert_eq!(found, wanted, "{name}");
        }
        let subtractions = |operators: Vec<String>| operators.iter().filter(|o| *o == "Sub").count();
        let constant = subtractions(scaled(|_| {}).unwrap());
        let computed = subtractions(scaled(|n| n.inputs[3] = "computed".into()).unwrap());
        assert_eq!(computed - constant, count(&bytes, "MatMulInteger"));
    }

    #[test]
    fn a_graph_that_is_not_as_expected_keeps_its_scales() {
        assert!(scaled(|_| {}).is_some());
        assert!(scaled(|n| n.inputs[1] = "logits".into()).is_none(), "weights that are computed");
        assert!(scaled(|n| n.inputs[2] = String::new()).is_none(), "no zero point");
        assert!(scaled(|n| n.operator = "ConvInteger".into()).is_none(), "not a product");
    }
}
