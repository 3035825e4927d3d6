//! Rotary position embedding, and with it the preparation of a step: rotated queries, cache rows.

pub mod append;
pub mod rotate;
pub mod step;
