//! Choice of a token's experts and their weights.
//!
//! Source: spec §4.2 (`noaux_tc`); DeepSeek-V2's `group_limited_greedy` for the softmax rule.

mod oracle;
#[cfg(test)]
mod tests;

pub use oracle::route;

/// The routing rule of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Probabilities by softmax over all experts instead of a sigmoid for each.
    pub softmax: bool,
    /// Groups of equal size; 1 switches groups off.
    pub n_group: usize,
    /// Groups kept.
    pub topk_group: usize,
    /// How many of a group's best experts its score sums: 2 in DeepSeek-V3, 1 in DeepSeek-V2.
    pub n_summed: usize,
    /// Active experts.
    pub n_active: usize,
    /// Whether the chosen probabilities are divided by their sum.
    pub normalise: bool,
    /// Factor on every weight.
    pub scale: f64,
}
