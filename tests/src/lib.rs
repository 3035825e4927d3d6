//! Parity, end-to-end and fault tests.
#![deny(missing_docs)]
