//! Devices, fixtures, tolerances and tiny models for tests; a dev-dependency and no part of the product.
//!
//! Functions here panic instead of returning errors: a test has nobody to hand an error to, and the message is its report.
#![deny(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a panic is the report of a failed test"
)]

pub mod device;
pub mod fixture;
pub mod model;
pub mod tolerance;
