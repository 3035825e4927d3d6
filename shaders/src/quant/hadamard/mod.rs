//! The Walsh–Hadamard transform that spreads outliers before quantisation.
//!
//! Source: spec §3.4.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::hadamard;
