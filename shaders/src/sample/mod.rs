//! From logits to tokens.

pub mod next_token;
