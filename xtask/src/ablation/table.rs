//! The curves as a table.

use super::Runs;
use super::curves::{Curves, mean};

/// The last steps whose mean counts as the end of a run.
const N_LAST: usize = 10;

/// Returns a Markdown table with a row for each variant: means over the seeds, ± half the range.
///
/// Runs of one seed are asked the same tasks, so a variant is also compared with the first one seed by seed.
pub(super) fn markdown(found: &[Runs]) -> String {
    let mut text =
        "| runs | steps | final reward | against all on | right | largest KL | mean entropy | largest norm | clipped | left out | rerouted |\n\
                    |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    let rewards = |runs: &Runs| runs.curves.iter().map(|curves| mean(last(&curves.column("reward")))).collect::<Vec<f64>>();
    let all_on = found.first().map(rewards).unwrap_or_default();
    for runs in found {
        let rewards = rewards(runs);
        let gains: Vec<f64> = rewards.iter().zip(&all_on).map(|(reward, all_on)| reward - all_on).collect();
        let each = |value: &dyn Fn(&Curves) -> f64| runs.curves.iter().map(value).collect::<Vec<f64>>();
        let steps: Vec<String> = runs.curves.iter().map(|curves| curves.n_steps().to_string()).collect();
        let cells = [
            spread(&rewards, 3),
            spread(&gains, 3),
            spread(&each(&|curves| mean(last(&curves.column("correct")))), 3),
            spread(&each(&|curves| largest(&curves.column("kl"))), 3),
            spread(&each(&|curves| mean(&curves.column("entropy"))), 3),
            spread(&each(&|curves| largest(&curves.column("grad_norm"))), 2),
            spread(&each(&|curves| mean(&curves.column("clipped"))), 3),
            spread(&each(&|curves| mean(&curves.column("left_out"))), 4),
            spread(&each(&|curves| mean(&curves.column("rerouted"))), 4),
        ];
        text += &format!("| {} | {} | {} |\n", runs.variant.name, steps.join(", "), cells.join(" | "));
    }
    text
}

fn last(values: &[f64]) -> &[f64] {
    &values[values.len().saturating_sub(N_LAST)..]
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// The mean, ± half of what lies between the least and the largest; a dash where nothing is known.
fn spread(values: &[f64], n_decimals: usize) -> String {
    let middle = mean(values);
    if !middle.is_finite() {
        return "–".to_owned();
    }
    let least = values.iter().copied().fold(f64::NAN, f64::min);
    format!("{middle:.n_decimals$} ± {:.n_decimals$}", (largest(values) - least) / 2.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::variant::VARIANTS;
    use super::*;

    #[test]
    fn a_row_has_the_mean_of_the_seeds_and_their_spread() {
        // Twelve steps, of which the last ten count: a mean reward of 7.5 and of 8.5.
        let run = |shift: f64| {
            let rows: Vec<String> =
                (1..=12).map(|step| format!("{},{}\n", f64::from(step) + shift, 0.1 * f64::from(step))).collect();
            Curves::parse(&format!("reward,kl\n{}", rows.concat())).unwrap()
        };
        let runs = |variant_idx: usize, curves| Runs { variant: &VARIANTS[variant_idx], curves };
        let text = markdown(&[runs(0, vec![run(0.0), run(1.0)]), runs(1, vec![run(0.5), run(2.5)])]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows[0], "| all on | 12, 12 | 8.000 ± 0.500 | 0.000 ± 0.000 | – | 1.200 ± 0.000 | – | – | – | – | – |");
        assert!(rows[1].starts_with("| unbiased KL off | 12, 12 | 9.000 ± 1.000 | 1.000 ± 0.500 | – |"), "{}", rows[1]);
    }
}
