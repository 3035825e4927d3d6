//! Models as launches of our own kernels: paged caches, prefill, replayed decode.
#![deny(missing_docs)]

pub mod architecture;
pub mod pages;
pub mod weights;
