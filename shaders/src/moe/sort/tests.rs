#![allow(clippy::expect_used, reason = "tests stop at the first surprise")]

use super::{Params, Sort, sort, tiles};
use crate::kernel::Capabilities;

#[test]
fn by_hand() {
    let (order, offsets) = sort(&[2, 0, 2, 3, 0], 4);
    assert_eq!(order, [1, 4, 0, 2, 3]);
    assert_eq!(offsets, [0, 2, 2, 4, 5]);
}

#[test]
fn tiles_end_with_their_expert() {
    assert_eq!(tiles(&[0, 5, 5, 7], 2), [(0, 0), (0, 2), (0, 4), (2, 5)]);
}

#[test]
fn there_is_room_for_every_tile() {
    let spec = Sort { n_experts: 3, tile: 4 };
    // The worst case: every expert's last tile holds one assignment.
    for (n, most) in [(1, 1), (2, 2), (3, 3), (7, 4), (11, 5), (12, 5), (15, 6)] {
        assert_eq!(spec.max_tiles(n), most, "{n}");
    }
}

#[test]
fn launches_that_cannot_work_are_refused() {
    let device = Capabilities::base();
    let spec = Sort { n_experts: 8, tile: 32 };
    let refuses = |spec: Sort, n: u32, what: &str| {
        let error = spec.launch(Params { n }, &device).expect_err(what).to_string();
        assert!(error.starts_with("moe/sort: ") && error.contains(what), "{error}");
    };
    refuses(Sort { n_experts: 0, ..spec }, 1, "experts E is 0");
    refuses(Sort { n_experts: 2000, ..spec }, 1, "experts E is 2000");
    refuses(Sort { tile: 0, ..spec }, 1, "tile is 0");
    refuses(spec, 0, "assignments N is 0");
}
