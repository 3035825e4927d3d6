//! Reinforcement learning: the objective, so far.
//!
//! Source: spec §7.

pub mod grpo;
