//! Everything that stands between the tensor names a model asks for and the names a checkpoint uses.
//!
//! - The prefix `model.` may be there or not.
//! - Experts are asked for stacked, `….mlp.experts.gate_up_proj` [E, 2I, D] with the gate rows first and
//!   `….mlp.experts.down_proj` [E, D, I]; a checkpoint may store them so or one by one, `….mlp.experts.{e}.{gate,up,down}_proj.weight`.
//! - Layers behind the last one predict further tokens (MTP, spec/dsa.md §1.4); they are recognised and left out.
//! - A few tensors are known to be computable and harmless.

use std::collections::BTreeSet;

/// A stored tensor that supplies the next values of a wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name, in the spelling of the checkpoint where it is there.
    pub(crate) name: String,
    /// The shape it must have.
    pub(crate) shape: Vec<usize>,
}

/// What a stored tensor that no model part asked for is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    /// It belongs to a multi-token-prediction layer.
    Mtp,
    /// It can be computed from the configuration or is a second copy.
    Harmless,
    /// Nobody knows: probably the configuration is another model's.
    Unknown,
}

/// The names of a checkpoint.
pub(crate) trait Names {
    /// Returns whether a tensor is stored.
    fn contains(&self, name: &str) -> bool;
    /// Returns the number of stored tensors.
    fn count(&self) -> usize;
}

/// Returns the stored tensors whose values, one after the other, are those of the wanted tensor.
///
/// What is not stored is still listed, under the name that it should have.
pub(crate) fn parts(name: &str, shape: &[usize], stored: &impl Names) -> Vec<Part> {
    if let Some(found) = spelling(name, stored) {
        return vec![Part { name: found, shape: shape.to_vec() }];
    }
    single_experts(name, shape, stored).unwrap_or_else(|| vec![Part { name: name.to_owned(), shape: shape.to_vec() }])
}

/// Returns the stored spelling of a name, if there is one.
fn spelling(name: &str, stored: &impl Names) -> Option<String> {
    if stored.contains(name) {
        return Some(name.to_owned());
    }
    let other = name.strip_prefix("model.").map_or_else(|| format!("model.{name}"), str::to_owned);
    stored.contains(&other).then_some(other)
}

/// Returns the parts of a stacked expert tensor if at least one expert is stored on its own.
fn single_experts(name: &str, shape: &[usize], stored: &impl Names) -> Option<Vec<Part>> {
    let &[n_experts, n_rows, n_cols] = shape else {
        return None;
    };
    let (prefix, projection) = name.rsplit_once('.')?;
    if !prefix.ends_with("mlp.experts") {
        return None;
    }
    let projections: &[&str] = match projection {
        "gate_up_proj" if n_rows % 2 == 0 => &["gate_proj", "up_proj"],
        "down_proj" => &["down_proj"],
        _ => return None,
    };
    let part_shape = [n_rows / projections.len(), n_cols];
    // One expert more than there are stored tensors is enough to report what is missing, however many a configuration claims.
    let mut n_found = 0;
    let mut parts = Vec::new();
    for expert_idx in 0..n_experts.min(stored.count().saturating_add(1)) {
        for projection in projections {
            let single = format!("{prefix}.{expert_idx}.{projection}.weight");
            let found = spelling(&single, stored);
            n_found += usize::from(found.is_some());
            parts.push(Part { name: found.unwrap_or(single), shape: part_shape.to_vec() });
        }
    }
    (n_found > 0).then_some(parts)
}

/// Returns the layer index in a tensor name.
fn layer_of(name: &str) -> Option<usize> {
    let name = name.strip_prefix("model.").unwrap_or(name);
    name.strip_prefix("layers.")?.split_once('.')?.0.parse().ok()
}

/// Returns the layers behind the last that carry the tensors which only a prediction layer has.
///
/// The index alone is not enough: a configuration with too few layers would then load half a model without a word.
pub(crate) fn mtp_layers<'a>(names: impl Iterator<Item = &'a str>, n_layers: Option<usize>) -> BTreeSet<usize> {
    let Some(n_layers) = n_layers else {
        return BTreeSet::new();
    };
    names
        .filter(|name| [".eh_proj.", ".enorm.", ".hnorm.", ".shared_head."].iter().any(|part| name.contains(part)))
        .filter_map(layer_of)
        .filter(|&layer_idx| layer_idx >= n_layers)
        .collect()
}

/// Classifies a stored tensor that was not asked for.
pub(crate) fn classify(name: &str, mtp_layers: &BTreeSet<usize>, tied_head: bool) -> Extra {
    if layer_of(name).is_some_and(|layer_idx| mtp_layers.contains(&layer_idx)) {
        return Extra::Mtp;
    }
    let head = name.strip_prefix("model.").unwrap_or(name) == "lm_head.weight";
    if name.ends_with("rotary_emb.inv_freq") || (tied_head && head) {
        return Extra::Harmless;
    }
    Extra::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Names for &[&str] {
        fn contains(&self, name: &str) -> bool {
            <[&str]>::contains(self, &name)
        }

        fn count(&self) -> usize {
            self.len()
        }
    }

    fn names(parts: &[Part]) -> Vec<&str> {
        parts.iter().map(|part| part.name.as_str()).collect()
    }

    #[test]
    fn the_prefix_may_be_there_or_not() {
        let stored: &[&str] = &["norm.weight", "model.lm_head.weight"];
        assert_eq!(names(&parts("model.norm.weight", &[4], &stored)), ["norm.weight"]);
        assert_eq!(names(&parts("lm_head.weight", &[4, 4], &stored)), ["model.lm_head.weight"]);
        assert_eq!(names(&parts("model.embed_tokens.weight", &[4, 4], &stored)), ["model.embed_tokens.weight"]);
    }

    #[test]
    fn gate_comes_before_up_in_each_expert() {
        let stored: &[&str] = &["layers.3.mlp.experts.1.up_proj.weight"];
        let parts = parts("model.layers.3.mlp.experts.gate_up_proj", &[2, 6, 5], &stored);
        let expected = [
            "model.layers.3.mlp.experts.0.gate_proj.weight",
            "model.layers.3.mlp.experts.0.up_proj.weight",
            "model.layers.3.mlp.experts.1.gate_proj.weight",
            "layers.3.mlp.experts.1.up_proj.weight",
        ];
        assert_eq!(names(&parts), expected);
        assert!(parts.iter().all(|part| part.shape == [3, 5]));
    }

    #[test]
    fn stacked_experts_win_and_absent_ones_are_named_stacked() {
        let stored: &[&str] = &["l.mlp.experts.down_proj", "l.mlp.experts.0.down_proj.weight"];
        assert_eq!(names(&parts("l.mlp.experts.down_proj", &[1, 2, 2], &stored)), ["l.mlp.experts.down_proj"]);
        assert_eq!(names(&parts("l.mlp.experts.gate_up_proj", &[1, 2, 2], &stored)), ["l.mlp.experts.gate_up_proj"]);
    }

    #[test]
    fn an_absurd_number_of_experts_stays_a_short_list() {
        let stored: &[&str] = &["l.mlp.experts.0.down_proj.weight"];
        assert_eq!(parts("l.mlp.experts.down_proj", &[usize::MAX, 2, 2], &stored).len(), 2);
    }

    #[test]
    fn only_layers_with_prediction_tensors_are_mtp() {
        let stored =
            ["model.layers.2.eh_proj.weight", "model.layers.2.input_layernorm.weight", "model.layers.3.input_layernorm.weight"];
        let mtp = mtp_layers(stored.into_iter(), Some(2));
        assert_eq!(mtp, BTreeSet::from([2]));
        assert_eq!(classify(stored[1], &mtp, false), Extra::Mtp);
        assert_eq!(classify(stored[2], &mtp, false), Extra::Unknown);
        assert!(mtp_layers(stored.into_iter(), Some(3)).is_empty());
    }

    #[test]
    fn known_extras_are_harmless() {
        let none = BTreeSet::new();
        assert_eq!(classify("model.layers.0.self_attn.rotary_emb.inv_freq", &none, false), Extra::Harmless);
        assert_eq!(classify("lm_head.weight", &none, true), Extra::Harmless);
        assert_eq!(classify("lm_head.weight", &none, false), Extra::Unknown);
    }
}
