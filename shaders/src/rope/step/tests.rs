use super::{NO_ROW, Params, RopeStep, step_rows};
use crate::kernel::Capabilities;

#[test]
fn by_hand() {
    let table: Vec<u32> = (0..70 * 4).collect();
    let found = step_rows(&table, 4, &[0, 65, 70], &[3, 1]);
    assert_eq!(found[..8], [0, 1, 2, 3, 192, 0, 0, 0]);
    assert_eq!(found[8..16], [260, 261, 262, 263, 65, 65, 0, 0]);
    assert_eq!(found[16..], [276, 277, 278, 279, NO_ROW, 70, 0, 0]);
}

#[test]
fn a_position_without_a_page_has_no_row() {
    assert_eq!(step_rows(&[0; 800], 4, &[64], &[7])[4], NO_ROW);
}

#[test]
fn odd_sizes_are_refused() {
    let device = Capabilities::base();
    let fits = Params { t: 1, rows: 1, pages: 1, table_stride: 0 };
    assert!(RopeStep { rope: 8 }.launch(fits, &device).is_ok());
    assert!(RopeStep { rope: 6 }.launch(fits, &device).is_err());
    for (t, rows, pages, table_stride) in [(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (2, 1, 3, 2)] {
        assert!(RopeStep { rope: 8 }.launch(Params { t, rows, pages, table_stride }, &device).is_err());
    }
}
