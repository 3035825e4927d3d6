use super::{EmbedGrad, Params, embed_grad};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

#[test]
fn by_hand() {
    let table = embed_grad(&[2, 0, 2], &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0], 3);
    assert_close(&table, &[3.0, 4.0, 0.0, 0.0, 11.0, 22.0], 0.0);
}

#[test]
fn unsuitable_sizes_are_refused() {
    let device = Capabilities::base();
    let launch = |params| EmbedGrad.launch(params, &device);
    let fits = Params::new(100, 50, 16);
    assert!(launch(fits).is_ok());
    assert!(launch(Params { t: 0, ..fits }).is_err(), "no tokens");
    assert!(launch(Params { vocab: 0, ..fits }).is_err(), "no rows of the table");
    assert!(launch(Params { d: 0, ..fits }).is_err(), "no columns");
    assert!(launch(Params { rows: 0, ..fits }).is_err(), "parts without tokens");
    assert!(launch(Params { t: 1 << 22, ..fits }).is_err(), "more values than a binding");
    assert!(launch(Params { rows: 1, t: 70_000, vocab: 1, d: 4 }).is_err(), "more parts than the grid has layers");
}
