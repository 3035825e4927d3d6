//! Right answers by domain, with their intervals.

use plotters::style::text_anchor::HPos;
use sferic_tasks::Domain;

use super::Drawing;
use super::canvas::{Canvas, FAINT, INK, colour, sheet};
use crate::eval::config::Attention;
use crate::eval::page::{columns, is_in, mode_name, unique};
use crate::eval::results::Results;
use crate::eval::share::Share;

/// Pixels of a panel's field, and left of it.
const WIDTH: i32 = 320;
const LEFT: i32 = 84;
/// Pixels from one mark of a domain to the next, and between domains.
const LINE: i32 = 12;
const GAP: i32 = 14;
/// Pixels above the fields.
const TOP: i32 = 76;

/// Draws a panel for each manner of answering: the domains from top to bottom, for each a mark with its interval for every model and attention.
pub(crate) fn tasks(results: &[Results]) -> Drawing {
    let all = columns(results);
    let modes = unique(all.iter().map(|(_, mode, _)| *mode));
    let marks = unique(all.iter().map(|(result, _, attention)| (result.name.clone(), *attention)));
    let domains: Vec<Domain> = Domain::ALL
        .into_iter()
        .filter(|domain| results.iter().any(|result| result.accuracy(|score| score.domain == *domain).n > 0))
        .collect();
    if modes.is_empty() {
        return Ok(None);
    }
    let block = marks.len() as i32 * LINE + GAP;
    // One more row is that of all domains.
    let height = block * (domains.len() as i32 + 1);
    let model_idx = |name: &str| results.iter().position(|result| result.name == name).unwrap_or(0);
    let draw = |canvas: &Canvas<'_>| {
        let names = unique(marks.iter().map(|(name, _)| (name.clone(), colour(model_idx(name)), true)));
        canvas.legend((16, 18), &names)?;
        canvas.text((16, 38), HPos::Left, (12, INK), "right answers in %, with 95 % intervals; ring: dense, disc: sparse")?;
        for (panel, mode) in (0..).zip(&modes) {
            let corner = (LEFT + panel * (LEFT + WIDTH + 24), TOP);
            frame(canvas, corner, height, mode_name(*mode))?;
            let rows = domains.iter().map(|domain| Some(*domain)).chain([None]);
            for (row, domain) in (0..).zip(rows) {
                let top = corner.1 + row * block;
                let name = domain.map_or("all".to_owned(), |domain| domain.to_string());
                canvas.text((corner.0 - 10, top + block / 2), HPos::Right, (12, INK), &name)?;
                for column in all.iter().filter(|(_, other, _)| other == mode) {
                    let (result, _, attention) = column;
                    let share =
                        result.accuracy(|score| is_in(column, score) && domain.is_none_or(|domain| score.domain == domain));
                    let nth = marks.iter().position(|mark| mark.0 == result.name && mark.1 == *attention).unwrap_or(0) as i32;
                    let y = top + (GAP + LINE) / 2 + nth * LINE;
                    mark(canvas, (corner.0, y), share, model_idx(&result.name), *attention)?;
                }
            }
        }
        Ok(())
    };
    let width = modes.len() as i32 * (LEFT + WIDTH + 24) + 16;
    sheet((width.max(400), TOP + height + 36), draw).map(Some)
}

/// Draws the scale of a panel.
fn frame(canvas: &Canvas<'_>, corner: (i32, i32), height: i32, title: &str) -> Result<(), String> {
    canvas.text((corner.0, corner.1 - 16), HPos::Left, (13, INK), title)?;
    for percent in (0..=100).step_by(25) {
        let x = corner.0 + percent * WIDTH / 100;
        canvas.line(vec![(x, corner.1), (x, corner.1 + height)], (1, FAINT))?;
        canvas.text((x, corner.1 + height + 14), HPos::Center, (11, INK), &percent.to_string())?;
    }
    Ok(())
}

fn mark(canvas: &Canvas<'_>, at: (i32, i32), share: Share, model_idx: usize, attention: Attention) -> Result<(), String> {
    let Some(value) = share.value() else { return Ok(()) };
    let x = |share: f64| at.0 + (share * f64::from(WIDTH)).round() as i32;
    let (low, high) = share.interval();
    canvas.line(vec![(x(low), at.1), (x(high), at.1)], (1, colour(model_idx)))?;
    canvas.dot((x(value), at.1), colour(model_idx), attention == Attention::Sparse)
}
