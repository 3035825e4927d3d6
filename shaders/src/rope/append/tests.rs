use super::{Append, Format, Index, Params, index_key, index_query, latent_row};
use crate::kernel::{Capabilities, KernelError};
use crate::rope::rotate::Layout;
use crate::shared::Lanes;
use crate::tests::assert_close;
use std::f64::consts::FRAC_PI_2;

#[test]
fn a_latent_row_by_hand() {
    // The norm of (3, 4) leaves the key alone; a quarter turn takes (1, 2) to (−2, 1).
    let row = latent_row(&[3.0, 4.0, 1.0, 2.0], &[1.0, 2.0], 3.5, 1, &[FRAC_PI_2], Layout::Interleaved);
    assert_close(&row, &[0.75, 2.0, -2.0, 1.0], 1e-15);
}

#[test]
fn an_index_query_rotates_its_front_and_transforms_all() {
    let v = [1.0, 2.0, 5.0, 7.0];
    assert_close(&index_query(&v, 1, &[FRAC_PI_2], Layout::HalfSplit, false), &[-2.0, 1.0, 5.0, 7.0], 1e-15);
    assert_close(&index_query(&v, 1, &[FRAC_PI_2], Layout::HalfSplit, true), &[5.5, -2.5, -6.5, -0.5], 1e-15);
}

#[test]
fn the_halves_of_a_row_are_pairs_where_the_layout_says_so() {
    let v = [1.0, 2.0, 3.0, 4.0];
    let quarter = [FRAC_PI_2, 0.0];
    assert_close(&index_query(&v, 1, &quarter, Layout::HalfSplit, false), &[-3.0, 2.0, 1.0, 4.0], 1e-15);
    assert_close(&index_query(&v, 1, &quarter, Layout::Interleaved, false), &[-2.0, 1.0, 3.0, 4.0], 1e-15);
}

#[test]
fn an_index_key_is_normalised_first() {
    let key = index_key(&[1.0, 3.0], (&[2.0, 4.0], &[0.5, -0.5], 3.0), 1, &[FRAC_PI_2], Layout::HalfSplit, false);
    assert_close(&key, &[-1.5, -0.5], 1e-15);
}

#[test]
fn rows_have_the_sizes_of_the_spec() {
    assert_eq!(Format::Fp8.latent_words(512, 64) * 4, 656);
    assert_eq!(Format::Fp8.index_page_words(128) * 4, 64 * 132);
    assert_eq!(Format::F16.latent_words(512, 64) * 4, 1152);
}

const INDEX: Index = Index { heads: 4, dim: 32, layout: Layout::HalfSplit, format: Format::F16, hadamard: false };
const SPEC: Append = Append {
    lanes: Lanes::Shared,
    heads: 2,
    nope: 8,
    latent: 128,
    rope: 16,
    layout: Layout::Interleaved,
    format: Format::F16,
    index: Some(INDEX),
};
const PARAMS: Params = Params {
    t: 1,
    q_stride: 176,
    q_offset: 0,
    p_stride: 180,
    kv_offset: 0,
    index_q_offset: 48,
    index_k_offset: 144,
    index_w_offset: 176,
    eps: 1e-6,
    index_eps: 1e-6,
    w_scale: 1.0,
};

#[track_caller]
fn refused(spec: Append, params: Params, what: &str) {
    let message = spec.launch(params, &Capabilities::base()).map_err(|error: KernelError| error.to_string());
    assert!(matches!(&message, Err(text) if text.contains(what)), "{what}: {message:?}");
}

#[test]
fn widths_that_do_not_suit_are_refused() {
    assert!(SPEC.launch(PARAMS, &Capabilities::base()).is_ok());
    let index = |index| Append { index: Some(index), ..SPEC };
    assert!(Append { heads: 0, ..SPEC }.launch(PARAMS, &Capabilities::base()).is_ok());
    refused(Append { nope: 12, ..SPEC }, PARAMS, "width Dn");
    refused(Append { rope: 4, ..SPEC }, PARAMS, "rotated width R");
    refused(Append { latent: 192, format: Format::Fp8, ..SPEC }, PARAMS, "FP8 cache");
    refused(Append { latent: 2048, ..SPEC }, PARAMS, "at most 2048");
    refused(index(Index { heads: 0, ..INDEX }), PARAMS, "index heads");
    refused(index(Index { dim: 40, ..INDEX }), PARAMS, "index width");
    refused(index(Index { dim: 48, hadamard: true, ..INDEX }), PARAMS, "power of two");
    refused(index(Index { dim: 256, format: Format::Fp8, ..INDEX }), PARAMS, "at most 128");
}

#[test]
fn parts_outside_a_token_are_refused() {
    refused(SPEC, Params { t: 0, ..PARAMS }, "tokens");
    refused(SPEC, Params { q_stride: 178, ..PARAMS }, "q_stride");
    refused(SPEC, Params { index_q_offset: 52, ..PARAMS }, "index queries");
    refused(SPEC, Params { q_offset: 132, ..PARAMS }, "query heads");
    refused(SPEC, Params { kv_offset: 37, ..PARAMS }, "latent row");
    refused(SPEC, Params { index_k_offset: 149, ..PARAMS }, "index key");
    refused(SPEC, Params { index_w_offset: 177, ..PARAMS }, "head weights");
    refused(SPEC, Params { t: 1 << 20, ..PARAMS }, "bytes of queries");
}
