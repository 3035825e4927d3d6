//! What is switched off.

use anyhow::{Result, bail};

/// The settings with one line changed.
#[derive(Debug)]
pub(super) struct Variant {
    /// Name in drawings and tables, and of the runs' folders.
    pub(super) name: &'static str,
    /// The key of the switch and its value here; none for the runs that the others are compared with.
    switch: Option<(&'static str, &'static str)>,
    /// Column of the curves that its row of the drawing has beside those that all rows have, and its title.
    pub(super) own: (&'static str, &'static str),
}

const LENGTH: (&str, &str) = ("length", "tokens per reply");

/// All stabilisers on, then each off in turn.
pub(super) const VARIANTS: &[Variant] = &[
    Variant { name: "all on", switch: None, own: LENGTH },
    Variant { name: "unbiased KL off", switch: Some(("unbiased_kl", "false")), own: LENGTH },
    Variant {
        name: "off-policy mask off",
        switch: Some(("off_policy_threshold", "0.0")),
        own: ("left_out", "replies left out, share"),
    },
    Variant { name: "Keep Routing off", switch: Some(("keep_routing", "false")), own: ("rerouted", "rerouted tokens, share") },
    Variant { name: "Keep Sampling Mask off", switch: Some(("keep_sampling_mask", "false")), own: LENGTH },
];

impl Variant {
    /// Returns the name of a run's folder.
    pub(super) fn run(&self, seed: u64) -> String {
        format!("{}-{seed}", self.name.to_lowercase().replace(' ', "-"))
    }

    /// Returns the settings of a run.
    ///
    /// # Errors
    /// A message when `text` has no line for what is to be changed.
    pub(super) fn settings(&self, text: &str, seed: u64) -> Result<String> {
        let text = with(text, "seed", &seed.to_string())?;
        self.switch.map_or(Ok(text.clone()), |(key, value)| with(&text, key, value))
    }
}

/// Replaces the value of a key that stands on a line of its own.
///
/// # Errors
/// A message when `text` has no such line, or several.
pub(super) fn with(text: &str, key: &str, value: &str) -> Result<String> {
    let is_meant = |line: &&str| line.split_once('=').is_some_and(|(found, _)| found.trim() == key);
    match text.lines().filter(is_meant).count() {
        1 => {}
        n_lines => bail!("grpo.toml has {n_lines} lines with the key `{key}`, and has to have one"),
    }
    let lines = text.lines().map(|line| if is_meant(&line) { format!("{key} = {value}\n") } else { format!("{line}\n") });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_variant_changes_its_line_of_the_settings_and_no_other() {
        let text = super::super::read(&crate::repository_root().join("benches/ablation/grpo.toml")).unwrap();
        let baseline = VARIANTS[0].settings(&text, 2).unwrap();
        let changed = |settings: &str, other: &str| -> Vec<String> {
            let pairs = settings.lines().zip(other.lines());
            pairs.filter(|(line, other)| line != other).map(|(line, _)| line.to_owned()).collect()
        };
        assert_eq!(changed(&baseline, &text), ["seed = 2"]);
        let of = |variant: &Variant| changed(&variant.settings(&text, 2).unwrap(), &baseline);
        let found: Vec<Vec<String>> = VARIANTS[1..].iter().map(of).collect();
        let switches =
            ["unbiased_kl = false", "off_policy_threshold = 0.0", "keep_routing = false", "keep_sampling_mask = false"];
        assert_eq!(found, switches.map(|line| vec![line.to_owned()]));
        assert_eq!(VARIANTS[3].run(2), "keep-routing-off-2");
    }

    #[test]
    fn a_switch_without_a_line_is_refused() {
        let error = VARIANTS[1].settings("seed = 1\n[grpo]\n", 1).unwrap_err().to_string();
        assert_eq!(error, "grpo.toml has 0 lines with the key `unbiased_kl`, and has to have one");
    }
}
