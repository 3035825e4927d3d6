//! `sferic xray`: which positions each layer selected for a token.

use plotters::prelude::*;
use serde::Serialize;

/// The selections of one token.
#[derive(Debug, Clone, Serialize)]
pub struct Xray {
    /// Position of the token whose selections these are.
    pub position: usize,
    /// The tokens up to and with it, as text, as far as known.
    pub tokens: Vec<String>,
    /// Layers with a selection.
    pub layers: Vec<Layer>,
}

/// One layer's selection.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// The layer.
    pub layer: usize,
    /// Selected positions, ascending.
    pub selected: Vec<usize>,
}

/// Columns of the heat map at most; a longer context is binned.
const COLUMNS: usize = 512;

impl Xray {
    /// Draws the heat map: a row for each layer, the context from left to right, darker where more of a bin is selected.
    ///
    /// # Errors
    /// A message when the drawing cannot be made.
    pub fn svg(&self) -> Result<String, String> {
        let n_context = self.position + 1;
        let columns = n_context.min(COLUMNS);
        let rows = self.layers.len().max(1);
        let height = 90 + 18 * rows as u32;
        let mut out = String::new();
        {
            let root = SVGBackend::with_string(&mut out, (960, height)).into_drawing_area();
            root.fill(&WHITE).map_err(|error| error.to_string())?;
            let caption = format!("What each layer selected for the token at position {}", self.position);
            let mut chart = ChartBuilder::on(&root)
                .margin(12)
                .caption(caption, ("sans-serif", 16))
                .x_label_area_size(32)
                .y_label_area_size(48)
                .build_cartesian_2d(0..n_context, (0..rows - 1).into_segmented())
                .map_err(|error| error.to_string())?;
            let layer_name = |row: &SegmentValue<usize>| match row {
                SegmentValue::CenterOf(row) => rows.checked_sub(1 + row).and_then(|at| self.layers.get(at)),
                SegmentValue::Exact(_) | SegmentValue::Last => None,
            };
            let layer_name =
                |row: &SegmentValue<usize>| layer_name(row).map_or_else(String::new, |layer| layer.layer.to_string());
            chart
                .configure_mesh()
                .disable_mesh()
                .x_desc("position in the context")
                .y_desc("layer")
                .y_labels(rows.min(32))
                .y_label_formatter(&layer_name)
                .draw()
                .map_err(|error| error.to_string())?;
            for (i, layer) in self.layers.iter().enumerate() {
                let row = rows - 1 - i;
                let top = if row + 1 < rows { SegmentValue::Exact(row + 1) } else { SegmentValue::Last };
                let mut counts = vec![0_usize; columns];
                for &position in layer.selected.iter().filter(|&&position| position < n_context) {
                    counts[position * columns / n_context] += 1;
                }
                let cells = counts.iter().enumerate().filter(|&(_, &count)| count > 0).map(|(column, &count)| {
                    let start = (column * n_context).div_ceil(columns);
                    let end = ((column + 1) * n_context).div_ceil(columns).max(start + 1);
                    let share = count as f64 / (end - start) as f64;
                    Rectangle::new(
                        [(start, SegmentValue::Exact(row)), (end, top.clone())],
                        RGBColor(20, 60, 140).mix(0.15 + 0.85 * share.min(1.0)).filled(),
                    )
                });
                chart.draw_series(cells).map_err(|error| error.to_string())?;
            }
            root.present().map_err(|error| error.to_string())?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use super::*;

    fn xray(position: usize, selected: Vec<usize>) -> Xray {
        Xray { position, tokens: Vec::new(), layers: vec![Layer { layer: 3, selected }] }
    }

    fn cells(svg: &str) -> usize {
        svg.lines().filter(|line| line.starts_with("<rect") && line.contains("#143C8C")).count()
    }

    #[test]
    fn every_selected_position_has_its_cell() {
        assert_eq!(cells(&xray(9, vec![0, 4, 9]).svg().unwrap()), 3);
        assert_eq!(cells(&xray(9, vec![]).svg().unwrap()), 0);
    }

    #[test]
    fn a_rows_name_stands_beside_its_middle() {
        let layers = (0..4).map(|layer| Layer { layer: 10 + layer, selected: vec![0] }).collect();
        let svg = Xray { position: 9, tokens: Vec::new(), layers }.svg().unwrap();
        let number = |line: &str, key: &str| line.split(&format!(" {key}=\"")).nth(1)?.split('"').next()?.parse::<f64>().ok();
        let lines: Vec<&str> = svg.lines().collect();
        for (row, name) in ["10", "11", "12", "13"].into_iter().enumerate() {
            let at = lines.iter().position(|line| *line == name).unwrap();
            let label = number(lines[at - 1], "y").unwrap();
            let cell = lines.iter().filter(|line| line.starts_with("<rect") && line.contains("#143C8C")).nth(row).unwrap();
            let middle = number(cell, "y").unwrap() + number(cell, "height").unwrap() / 2.0;
            // The label's `y` is the top of its letters, half of which are above the middle.
            assert!((label - middle).abs() < 9.0, "{name}: {label}, {middle}");
        }
    }

    #[test]
    fn a_long_context_is_binned() {
        assert_eq!(cells(&xray(100_000, (0..=100_000).collect()).svg().unwrap()), COLUMNS);
    }
}
