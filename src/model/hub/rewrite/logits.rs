//! Logits for the last vectors only. The product with the vocabulary is a fifth of the work on a prompt, its result takes
//! half a gigabyte for 32 pictures, and only the last vector's logits are read.

use crate::model::onnx::{Node, OnnxModel};

/// The output.
const LOGITS: &str = "logits";
/// The input of graphs that do this themselves.
const OWN: &str = "num_logits_to_keep";
/// Operations between the product and the logits, each of which leaves every vector by itself.
const BY_VECTOR: [&str; 5] = ["Cast", "Mul", "Add", "Div", "Tanh"];
/// Most of them in a row.
const DEPTH: usize = 8;

/// Lets the product with the vocabulary see the last two vectors only; false if the graph has none, or does so itself.
///
/// Two, because one row is computed in another way than several: so a picture alone gets the same logits as in a batch.
pub(super) fn keep_last(model: &mut OnnxModel) -> bool {
    if model.nodes.iter().any(|node| node.inputs.iter().any(|i| i == OWN)) {
        return false;
    }
    let mut products = Vec::new();
    find_products(&model.nodes, LOGITS, DEPTH, &mut products);
    let &[at] = products.as_slice() else { return false };
    let (all, last) = (model.nodes[at].inputs[0].clone(), format!("descry/last/{}", model.nodes[at].inputs[0]));
    let names = ["start", "end", "axis"].map(|part| format!("descry/last/{part}"));
    for (name, value) in names.iter().zip([-2, i64::MAX, 1]) {
        model.add_ints(name, &[value]);
    }
    model.nodes[at].inputs[0].clone_from(&last);
    model.nodes.insert(at, Node::new("Slice", &[&all, &names[0], &names[1], &names[2]], &last));
    true
}

/// The products of matrices behind a result, as far as only operations on single vectors come after them.
fn find_products(nodes: &[Node], result: &str, depth: usize, found: &mut Vec<usize>) {
    let at = nodes.iter().position(|n| n.outputs.iter().any(|o| o == result));
    let (Some(at), true) = (at, depth > 0) else { return };
    match (nodes[at].domain.as_str(), nodes[at].operator.as_str()) {
        ("", "MatMul" | "MatMulInteger") | ("com.microsoft", "MatMulNBits" | "MatMulBnb4") => found.push(at),
        ("", operator) if BY_VECTOR.contains(&operator) => {
            nodes[at].inputs.iter().for_each(|input| find_products(nodes, input, depth - 1, found));
        }
        _ => {}
    }
}
