//! The report as a drawing.

use super::report::{AttentionFigures, AttentionReport, length};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A line of a panel.
type Series = (&'static str, RGBColor, u32, fn(&AttentionFigures) -> Option<f64>);

/// Colours that people with colour-blindness tell apart (Okabe and Ito).
const SERIES: [Series; 5] = [
    ("dense attention", RGBColor(213, 94, 0), 3, |f| f.dense.map(|dense| dense.microseconds)),
    ("sparse, all three", RGBColor(0, 114, 178), 3, |f| Some(f.sparse.microseconds)),
    ("index scores", RGBColor(230, 159, 0), 1, |f| Some(f.scores.microseconds)),
    ("top-k", RGBColor(204, 121, 167), 1, |f| Some(f.top_k.microseconds)),
    ("attention over the selected", RGBColor(0, 158, 115), 1, |f| Some(f.attention.microseconds)),
];
/// Pixels of a panel, and the least width of all.
const PANEL: (u32, u32) = (560, 460);
const LEAST_WIDTH: u32 = 760;
/// Pixels above the panels: title, device, legend.
const TITLE: u32 = 92;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

impl AttentionReport {
    /// Draws time over cached length, both on logarithmic axes, with a panel for each query count.
    ///
    /// # Errors
    /// A message when there is no figure, or the drawing cannot be made.
    pub fn svg(&self) -> Result<String, String> {
        let measured = self.rows.iter().filter_map(|row| row.figures.as_ref().map(|figures| (row, figures)));
        let times = measured.clone().flat_map(|(_, figures)| SERIES.iter().filter_map(|(.., time)| time(figures)));
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)))
        };
        let x = bounds(&mut measured.clone().map(|(row, _)| f64::from(row.cached)));
        let y = bounds(&mut times.into_iter());
        if y.1 == 0.0 {
            return Err("no row has a figure".into());
        }
        let panels = self.crossovers.len().max(1);
        let mut out = String::new();
        {
            let size = ((PANEL.0 * panels as u32).max(LEAST_WIDTH), PANEL.1 + TITLE);
            let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
            root.fill(&WHITE).map_err(|error| error.to_string())?;
            let (title, rest) = root.split_vertically(TITLE);
            self.title(&title)?;
            for (i, area) in rest.split_evenly((1, panels)).iter().enumerate() {
                self.panel(area, i, (x.0 / 1.2, x.1 * 1.2), (y.0 / 1.5, y.1 * 1.5))?;
            }
            root.present().map_err(|error| error.to_string())?;
        }
        Ok(out)
    }

    fn title(&self, area: &Area<'_>) -> Result<(), String> {
        let text = |text: String, size: i32, y: i32| {
            area.draw(&Text::new(text, (16, y), ("sans-serif", size).into_font())).map_err(|error| error.to_string())
        };
        text("One layer of DeepSeek Sparse Attention against dense attention".into(), 20, 12)?;
        let shape = &self.shape;
        let what = format!(
            "{}, {}; {}: {} heads, {} index heads, {} selected, {} caches",
            self.device,
            self.api,
            shape.name,
            shape.heads,
            shape.index_heads,
            shape.selected,
            self.dtype.name()
        );
        text(what, 13, 40)?;
        let mut x = 16;
        for (name, colour, width, _) in SERIES {
            let key = PathElement::new([(x, 74), (x + 22, 74)], colour.stroke_width(width));
            area.draw(&key).map_err(|error| error.to_string())?;
            area.draw(&Text::new(name, (x + 28, 68), ("sans-serif", 13).into_font())).map_err(|error| error.to_string())?;
            x += 28 + 7 * name.len() as i32 + 16;
        }
        Ok(())
    }

    fn panel(&self, area: &Area<'_>, i: usize, x: (f64, f64), y: (f64, f64)) -> Result<(), String> {
        let error = |error: DrawingAreaErrorKind<_>| error.to_string();
        let Some(&crossover) = self.crossovers.get(i) else { return Ok(()) };
        let caption = if crossover.queries == 1 { "1 query".into() } else { format!("{} queries", crossover.queries) };
        let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
            .margin(12)
            .caption(caption, ("sans-serif", 16))
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d((x.0..x.1).log_scale().base(2.0), (y.0..y.1).log_scale())
            .map_err(error)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .label_style(("sans-serif", 12))
            .axis_desc_style(("sans-serif", 13))
            .x_labels(12)
            .x_desc("cached tokens")
            .y_desc("time for one layer")
            .x_label_formatter(&|tokens| length(tokens.round() as u32))
            .y_label_formatter(&|time| duration(*time))
            .draw()
            .map_err(error)?;
        let rows: Vec<_> = self.rows.iter().filter(|row| row.queries == crossover.queries).collect();
        for (_, colour, width, time) in SERIES {
            let point = |row: &&super::AttentionRow| Some((f64::from(row.cached), time(row.figures.as_ref()?)?));
            let points: Vec<(f64, f64)> = rows.iter().filter_map(point).collect();
            let style = colour.stroke_width(width);
            chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(error)?;
            let dots = points.iter().map(|&at| Circle::new(at, width + 1, colour.filled()));
            chart.draw_series(dots).map_err(error)?;
        }
        if let Some(cached) = crossover.cached {
            let at = f64::from(cached);
            let line = DashedLineSeries::new([(at, y.0), (at, y.1)], 4, 4, BLACK.mix(0.5).stroke_width(1));
            chart.draw_series(line).map_err(error)?;
            let from = format!("sparse wins from {}", length(cached));
            let left = at > (x.0 * x.1).sqrt();
            let anchor = Pos::new(if left { HPos::Right } else { HPos::Left }, VPos::Bottom);
            let style = ("sans-serif", 13).into_font().color(&BLACK).pos(anchor);
            let place = EmptyElement::at((at, y.0)) + Text::new(from, (if left { -6 } else { 6 }, -6), style);
            chart.draw_series([place]).map_err(error)?;
        }
        Ok(())
    }
}

/// `20 µs`, `3 ms`, `1 s`.
fn duration(microseconds: f64) -> String {
    match microseconds {
        ..1e3 => format!("{microseconds} µs"),
        ..1e6 => format!("{} ms", microseconds / 1e3),
        _ => format!("{} s", microseconds / 1e6),
    }
}
