//! Right answers by length and depth, as a map of colours.

use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;

use super::Drawing;
use super::canvas::{Canvas, INK, length, sheet};
use crate::eval::page::unique;
use crate::eval::results::{GridScore, Results};
use crate::eval::share::Share;

/// Pixels of a cell.
const CELL: (i32, i32) = (54, 26);
/// Pixels left of, above and below the cells of a panel.
const LEFT: i32 = 72;
const TOP: i32 = 30;
const BOTTOM: i32 = 46;

/// Draws a panel for each model, a row of them for each kind of attention.
pub(crate) fn grid(results: &[Results], generator: &str) -> Drawing {
    let scores = || results.iter().flat_map(|result| &result.grid).filter(|score| score.generator == generator);
    let mut lengths = unique(scores().map(|score| score.length));
    lengths.sort_unstable();
    let n_depths = scores().map(|score| score.n_depths).max().unwrap_or(0) as i32;
    let attentions = unique(scores().map(|score| score.attention));
    let shown: Vec<&Results> = results.iter().filter(|result| result.found(|score| score.generator == generator).n > 0).collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let panel = (LEFT + lengths.len() as i32 * CELL.0 + 16, TOP + n_depths * CELL.1 + BOTTOM);
    let size = (panel.0 * attentions.len() as i32, panel.1 * shown.len() as i32);
    let draw = |canvas: &Canvas<'_>| {
        for (row, result) in (0..).zip(&shown) {
            for (column, attention) in (0..).zip(&attentions) {
                let corner = (column * panel.0 + LEFT, row * panel.1 + TOP);
                frame(canvas, corner, &lengths, n_depths)?;
                let title = format!("{}, {} attention: right answers in %", result.name, attention.name());
                canvas.text((corner.0, corner.1 - 14), HPos::Left, (13, INK), &title)?;
                let of = |score: &&GridScore| score.generator == generator && score.attention == *attention;
                for score in result.grid.iter().filter(of) {
                    let Some(x) = lengths.iter().position(|length| *length == score.length) else { continue };
                    let at = (corner.0 + x as i32 * CELL.0, corner.1 + score.depth as i32 * CELL.1);
                    cell(canvas, at, score.share)?;
                }
            }
        }
        Ok(())
    };
    sheet(size, draw).map(Some)
}

/// Names lengths and depths.
fn frame(canvas: &Canvas<'_>, corner: (i32, i32), lengths: &[usize], n_depths: i32) -> Result<(), String> {
    let bottom = corner.1 + n_depths * CELL.1;
    for (x, &n_tokens) in (0..).zip(lengths) {
        let at = (corner.0 + x * CELL.0 + CELL.0 / 2, bottom + 12);
        canvas.text(at, HPos::Center, (12, INK), &length(n_tokens))?;
    }
    let middle = corner.0 + lengths.len() as i32 * CELL.0 / 2;
    canvas.text((middle, bottom + 30), HPos::Center, (12, INK), "tokens of the prompt")?;
    canvas.text((corner.0 - 8, corner.1 - 14), HPos::Right, (12, INK), "depth")?;
    for depth in 0..n_depths {
        let at = (corner.0 - 8, corner.1 + depth * CELL.1 + CELL.1 / 2);
        let name = format!("{}–{} %", 100 * depth / n_depths, 100 * (depth + 1) / n_depths);
        canvas.text(at, HPos::Right, (11, INK), &name)?;
    }
    Ok(())
}

fn cell(canvas: &Canvas<'_>, at: (i32, i32), share: Share) -> Result<(), String> {
    let Some(value) = share.value() else { return Ok(()) };
    // From nearly white to a dark blue; a seam of a pixel stays between cells.
    let mix = |low: f64, high: f64| (low + (high - low) * value) as u8;
    let colour = RGBColor(mix(240.0, 8.0), mix(245.0, 69.0), mix(250.0, 148.0));
    canvas.fill([at, (at.0 + CELL.0 - 1, at.1 + CELL.1 - 1)], colour)?;
    let ink = if value > 0.5 { RGBColor(255, 255, 255) } else { INK };
    canvas.text((at.0 + CELL.0 / 2, at.1 + CELL.1 / 2), HPos::Center, (12, ink), &format!("{:.0}", 100.0 * value))
}
