//! LLaVA in the hub's layout, against what PyTorch generates with the same weights (`tools/hub_goldens.py`): its template
//! with marks for training, the token that its tokenizer puts before every text, and pictures that are cropped.

use crate::hub::{cases_in, check_batches, check_bound, check_cases};

const FOLDER: &str = "tests/models/llava";

#[test]
fn captions_are_those_of_pytorch() {
    check_cases(FOLDER, &cases_in("llava.json"));
}

#[test]
fn batches_and_threads_change_nothing() {
    check_batches(FOLDER, &cases_in("llava.json"));
}

#[test]
fn bound_keys_give_the_same_captions() {
    check_bound(FOLDER, &cases_in("llava.json"));
}
