//! Agreement of the operations and the model with oracles, with printed numbers and with reference checkpoints.
//!
//! One program holds all of these suites, because linking Burn takes longer than running most of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]

/// Replies computed together on the kernels: what they were drawn from, early ends, more of them than rows.
mod batches;
/// The printed layer of spec §11.2 composed from oracles, with a switch for each known bug.
mod composed;
/// The printed layer through the model: intermediates, scores, selections, outputs, KL and its gradients.
mod float64_layer;
/// The sizes of terms of its gradients, and padding.
mod indexer_loss;
/// Sessions on the kernels: caches that grow, are shared and run full, and memory that stays.
mod kernels;
/// Each known bug turns some check red.
mod mutations;
/// Every operation against its f64 oracle on every device.
mod ops_oracle;
/// The reference checkpoints on every device, fed in every way.
mod parity;
/// Laws that hold for any weights.
mod properties;
/// Experts that are kept in training, and their loads.
mod routing;
/// Selection on the host and on devices: named edges and random rows.
mod selection;
/// Sizes, weights and printed numbers of spec §11.2.
mod tiny;
/// Functions made of launches against the stock operations.
mod training_attention;
mod training_kernels;
