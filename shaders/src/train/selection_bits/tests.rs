#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{Params, SelectionBits, selection_bits};
use crate::kernel::Capabilities;

#[test]
fn by_hand() {
    assert_eq!(selection_bits(&[0, 2, 33, 1, 63, -1], 3, 2), [0b101, 0b10, 0b10, 1 << 31]);
}

#[test]
fn what_a_launch_refuses() {
    let device = Capabilities::base();
    let params = Params { rows: 70_000, k: 4, words: 2, first_row: 0 };
    assert_eq!(SelectionBits.launch(params, &device).unwrap().workgroups, [35_000, 2, 1]);
    let refused = |params| SelectionBits.launch(params, &device).unwrap_err().to_string();
    assert_eq!(refused(Params { k: 0, ..params }), "train/selection_bits: selected K is 0, expected at least 1");
    let bytes = "train/selection_bits: needs 4000280000 bytes of a buffer, the adapter allows 134217728";
    assert_eq!(refused(Params { words: 1000, first_row: 930_070, ..params }), bytes);
}
