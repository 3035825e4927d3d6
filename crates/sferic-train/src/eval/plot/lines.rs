//! Loss by position, and recall by layer.

use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;

use super::Drawing;
use super::canvas::{Canvas, FAINT, INK, colour, length, sheet};
use crate::eval::config::Attention;
use crate::eval::page::unique;
use crate::eval::recall::{Recall, RecallAt};
use crate::eval::results::Results;

/// A field with a vertical scale.
struct Field {
    /// Upper left corner.
    corner: (i32, i32),
    /// Width and height.
    size: (i32, i32),
    /// Values at bottom and top.
    range: (f64, f64),
}

impl Field {
    fn y(&self, value: f64) -> i32 {
        let (low, high) = self.range;
        self.corner.1 + self.size.1 - ((value - low) / (high - low) * f64::from(self.size.1)).round() as i32
    }

    /// The middle of the nth of `n` columns.
    fn x(&self, nth: usize, n: usize) -> i32 {
        self.corner.0 + (2 * nth as i32 + 1) * self.size.0 / (2 * n.max(1) as i32)
    }

    /// Draws horizontal lines at multiples of `step`, with their values.
    fn scale(&self, canvas: &Canvas<'_>, step: f64, n_decimals: usize) -> Result<(), String> {
        let first = (self.range.0 / step).ceil() as i64;
        let last = (self.range.1 / step + 1e-9).floor() as i64;
        for nth in first..=last {
            let value = nth as f64 * step;
            let y = self.y(value);
            canvas.line(vec![(self.corner.0, y), (self.corner.0 + self.size.0, y)], (1, FAINT))?;
            canvas.text((self.corner.0 - 8, y), HPos::Right, (11, INK), &format!("{value:.n_decimals$}"))?;
        }
        Ok(())
    }
}

/// Draws the loss of each model by position: rings for dense, discs for sparse attention.
pub(crate) fn likelihood(results: &[Results]) -> Drawing {
    let mut stretches = unique(results.iter().flat_map(|result| &result.likelihood).map(|found| (found.start, found.end)));
    stretches.sort_unstable();
    let loss = |result: &Results, attention: Attention, start: usize| result.nll(attention, |found| found.start == start);
    let starts = || stretches.iter().map(|(start, _)| *start);
    let mut values = Vec::new();
    for result in results {
        let both = starts().flat_map(|start| [Attention::Dense, Attention::Sparse].map(|kind| loss(result, kind, start)));
        values.extend(both.flatten().filter(|value| value.is_finite()));
    }
    let (low, high) = values.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), &value| (low.min(value), high.max(value)));
    if values.is_empty() {
        return Ok(None);
    }
    let margin = ((high - low) * 0.1).max(0.02);
    let step = step((high - low) + 2.0 * margin);
    let field = Field { corner: (64, 56), size: (160 * stretches.len() as i32, 260), range: (low - margin, high + margin) };
    let legend: Vec<_> = named(results, |result| !result.likelihood.is_empty());
    let draw = |canvas: &Canvas<'_>| {
        canvas.legend((16, 18), &legend)?;
        canvas.text((16, 38), HPos::Left, (12, INK), "loss in nats per token; ring: dense, disc: sparse")?;
        field.scale(canvas, step, if step < 0.1 { 2 } else { 1 })?;
        for (nth, (start, end)) in stretches.iter().enumerate() {
            let name = format!("{} to {}", length(*start), length(*end));
            canvas.text((field.x(nth, stretches.len()), 56 + 260 + 16), HPos::Center, (12, INK), &name)?;
        }
        canvas.text((field.corner.0 + field.size.0 / 2, 356), HPos::Center, (12, INK), "position in the document")?;
        for (model_idx, result) in results.iter().enumerate() {
            for attention in [Attention::Dense, Attention::Sparse] {
                let at = |(nth, start)| Some((field.x(nth, stretches.len()), field.y(loss(result, attention, start)?)));
                let points: Vec<(i32, i32)> = starts().enumerate().filter_map(at).collect();
                let width = if attention == Attention::Sparse { 2 } else { 1 };
                canvas.line(points.clone(), (width, colour(model_idx)))?;
                for at in points {
                    canvas.dot(at, colour(model_idx), attention == Attention::Sparse)?;
                }
            }
        }
        Ok(())
    };
    // The legend may be wider than the field.
    let width = (field.size.0 + 96).max(360).max(120 * legend.len() as i32);
    sheet((width, 374), draw).map(Some)
}

/// One, two or five times a power of ten, so that a scale has four to ten lines.
fn step(range: f64) -> f64 {
    let power = 10.0_f64.powf((range / 4.0).log10().floor());
    [5.0, 2.0].into_iter().map(|factor| factor * power).find(|step| range / step >= 4.0).unwrap_or(power)
}

fn named(results: &[Results], is_shown: impl Fn(&Results) -> bool) -> Vec<(String, RGBColor, bool)> {
    let shown = results.iter().enumerate().filter(|(_, result)| is_shown(result));
    shown.map(|(model_idx, result)| (result.name.clone(), colour(model_idx), true)).collect()
}

/// A line of a panel of recall.
type Curve = (&'static str, RGBColor, u32, fn(&RecallAt) -> f64);

const CURVES: [Curve; 3] = [
    ("oracle", RGBColor(120, 120, 120), 1, |at| at.oracle),
    ("indexer", RGBColor(0, 114, 178), 2, |at| at.indexer),
    ("sliding window", RGBColor(213, 94, 0), 1, |at| at.window),
];

/// Draws recall by layer: a row of panels for each model, a panel for each length, for the largest selection that leaves something out.
pub(crate) fn recall(results: &[Results]) -> Drawing {
    let shown: Vec<(&str, Vec<&Recall>)> = results
        .iter()
        .map(|result| (result.name.as_str(), result.recall.iter().filter(|recall| !recall.layers.is_empty()).collect::<Vec<_>>()))
        .filter(|(_, recalls)| !recalls.is_empty())
        .collect();
    let n_columns = shown.iter().map(|(_, recalls)| recalls.len()).max().unwrap_or(0) as i32;
    if n_columns == 0 {
        return Ok(None);
    }
    let panel = (300, 236);
    let draw = |canvas: &Canvas<'_>| {
        let legend: Vec<_> = CURVES.iter().map(|(name, colour, ..)| ((*name).to_owned(), *colour, true)).collect();
        canvas.legend((16, 18), &legend)?;
        for (row, (name, recalls)) in (0..).zip(&shown) {
            for (column, recall) in (0..).zip(recalls) {
                let corner = (column * panel.0 + 56, row * panel.1 + 68);
                layers(canvas, &Field { corner, size: (panel.0 - 72, 120), range: (0.0, 1.0) }, name, recall)?;
            }
        }
        Ok(())
    };
    sheet((panel.0 * n_columns, panel.1 * shown.len() as i32 + 36), draw).map(Some)
}

fn layers(canvas: &Canvas<'_>, field: &Field, name: &str, recall: &Recall) -> Result<(), String> {
    let sizes = recall.layers.iter().flat_map(|layer| &layer.at).map(|at| at.k).filter(|&k| k < recall.length);
    let k = sizes.max().unwrap_or(1);
    let title = format!("{name}: {k} of {} tokens", length(recall.length));
    canvas.text((field.corner.0, field.corner.1 - 16), HPos::Left, (13, INK), &title)?;
    field.scale(canvas, 0.25, 2)?;
    let n_layers = recall.layers.len();
    for (_, colour, width, value) in CURVES {
        let found = recall.layers.iter().enumerate().filter_map(|(nth, layer)| {
            let at = layer.at.iter().find(|at| at.k == k)?;
            Some((field.x(nth, n_layers), field.y(value(at))))
        });
        let points: Vec<(i32, i32)> = found.collect();
        canvas.line(points.clone(), (width, colour))?;
        for at in points {
            canvas.dot(at, colour, true)?;
        }
    }
    let every = n_layers.div_ceil(16);
    for (nth, layer) in recall.layers.iter().enumerate().step_by(every.max(1)) {
        let at = (field.x(nth, n_layers), field.corner.1 + field.size.1 + 14);
        canvas.text(at, HPos::Center, (11, INK), &layer.layer.to_string())?;
    }
    canvas.text((field.corner.0 + field.size.0 / 2, field.corner.1 + field.size.1 + 30), HPos::Center, (12, INK), "layer")
}
