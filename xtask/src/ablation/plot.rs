//! The curves as one drawing: a row for each stabiliser, the runs without it over the runs with all of them.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Runs;
use super::curves::mean_curve;

/// Columns that every row has: column of the curves, title, whether the scale is logarithmic.
const COLUMNS: [(&str, &str, bool); 5] = [
    ("reward", "reward", false),
    ("kl", "KL from the start, nats", true),
    ("entropy", "entropy of the draws, nats", false),
    ("grad_norm", "norm of the gradient", true),
    ("clipped", "clipped tokens, share", false),
];
/// Pixels of a chart, of the text left of a row, and of the head.
const CHART: (u32, u32) = (236, 190);
const HEAD: u32 = 52;
const ROW_TITLE: u32 = 22;
/// With all stabilisers, and without one; colours that people with colour-blindness tell apart (Okabe and Ito).
const ON: RGBColor = RGBColor(0, 114, 178);
const OFF: RGBColor = RGBColor(213, 94, 0);
const FAINT: RGBColor = RGBColor(225, 225, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Least and largest value of an axis.
type Span = (f64, f64);

/// Draws all variants behind the first one against it.
///
/// # Errors
/// A message when there is nothing to compare, or the drawing cannot be made.
pub(super) fn draw(found: &[Runs]) -> Result<String, String> {
    let Some((baseline, others)) = found.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("there is nothing to compare".to_owned());
    };
    let mut svg = String::new();
    {
        let size = (CHART.0 * (COLUMNS.len() as u32 + 1), HEAD + (ROW_TITLE + CHART.1) * others.len() as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let (top, rest) = root.split_vertically(HEAD);
        head(&top, baseline.curves.len())?;
        for (off, area) in others.iter().zip(rest.split_evenly((others.len(), 1))) {
            let (title, charts) = area.split_vertically(ROW_TITLE);
            text(&title, off.variant.name, (14, 4), 15)?;
            let own = (off.variant.own.0, off.variant.own.1, false);
            for (column, area) in COLUMNS.into_iter().chain([own]).zip(charts.split_evenly((1, COLUMNS.len() + 1))) {
                chart(&area, column, (baseline, off), found)?;
            }
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn head(area: &Area<'_>, n_seeds: usize) -> Result<(), String> {
    text(area, "GRPO with each stabiliser off in turn", (14, 10), 18)?;
    for (x, colour, name) in [(14, ON, "all on"), (110, OFF, "this one off")] {
        let line = PathElement::new([(x, 42), (x + 22, 42)], colour.stroke_width(3));
        area.draw(&line).map_err(|error| error.to_string())?;
        text(area, name, (x + 28, 36), 13)?;
    }
    text(area, &format!("seeds, thin: {n_seeds}; thick: their mean; across: step"), (236, 36), 13)
}

fn text(area: &Area<'_>, words: &str, at: (i32, i32), size: i32) -> Result<(), String> {
    area.draw(&Text::new(words.to_owned(), at, ("sans-serif", size).into_font())).map_err(|error| error.to_string())
}

/// Draws one chart; its scale is that of its column in all rows, so that rows can be compared.
fn chart(
    area: &Area<'_>,
    (name, title, is_log): (&str, &str, bool),
    (on, off): (&Runs, &Runs),
    all: &[Runs],
) -> Result<(), String> {
    fn message(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let drawn = |value: f64| if is_log { value.log10() } else { value };
    let column = |runs: &Runs| -> Vec<Vec<f64>> {
        let of_run = |curves: &super::Curves| curves.column(name).into_iter().map(drawn).collect();
        runs.curves.iter().map(of_run).collect()
    };
    let values: Vec<f64> = all.iter().flat_map(column).flatten().filter(|value| value.is_finite()).collect();
    let (low, high) = span(&values, is_log);
    let n_steps = all.iter().flat_map(|runs| &runs.curves).map(super::Curves::n_steps).max().unwrap_or(1);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .caption(title, ("sans-serif", 13))
        .x_label_area_size(20)
        .y_label_area_size(46)
        .build_cartesian_2d(0.0..n_steps as f64, low..high)
        .map_err(message)?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .light_line_style(WHITE)
        .bold_line_style(FAINT)
        .label_style(("sans-serif", 11))
        .x_labels(5)
        .y_labels(5)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| label(*value, is_log))
        .draw()
        .map_err(message)?;
    for (runs, colour) in [(on, ON), (off, OFF)] {
        let columns = column(runs);
        let thin = columns.iter().map(|values| (values, ShapeStyle::from(colour.mix(0.35)).stroke_width(1)));
        let mean = mean_curve(&columns);
        for (values, style) in thin.chain([(&mean, ShapeStyle::from(colour).stroke_width(2))]) {
            let points = values.iter().enumerate().filter(|(_, value)| value.is_finite());
            chart
                .draw_series(LineSeries::new(points.map(|(step, value)| ((step + 1) as f64, *value)), style))
                .map_err(message)?;
        }
    }
    Ok(())
}

/// The axis for some values: a linear one begins at 0 where the values come near it.
fn span(values: &[f64], is_log: bool) -> Span {
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
    // No values.
    if low > high {
        return (0.0, 1.0);
    }
    let from_zero = !is_log && (0.0..=0.5 * high).contains(&low);
    let low = if from_zero { 0.0 } else { low };
    if high <= low {
        return (low, low + 1.0);
    }
    let margin = 0.05 * (high - low);
    (if from_zero { 0.0 } else { low - margin }, high + margin)
}

fn label(value: f64, is_log: bool) -> String {
    let value = if is_log { 10f64.powf(value) } else { value };
    match value.abs() {
        0.0 => "0".to_owned(),
        0.01..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.0}"),
        _ => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::variant::VARIANTS;
    use super::super::{Curves, Runs};
    use super::*;

    fn runs(variant_idx: usize, texts: &[&str]) -> Runs {
        let curves = texts.iter().map(|text| Curves::parse(text).unwrap()).collect();
        Runs { variant: &VARIANTS[variant_idx], curves }
    }

    #[test]
    fn a_row_has_a_line_for_each_run_and_their_mean() {
        let text = "reward,kl,entropy,grad_norm,clipped,length\n0.1,0.0,1.0,NaN,0.0,0.0\n0.2,0.5,1.0,2.0,0.1,0.5\n0.3,0.6,0.9,3.0,0.2,0.5\n";
        let early = "reward,kl,entropy,grad_norm,clipped,length\n0.1,0.1,1.0,1.0,0.0,0.0\n0.2,0.2,1.0,2.0,0.0,0.0\n";
        let found = [runs(0, &[text, text]), runs(1, &[early, text]), runs(4, &[text, early])];
        let svg = draw(&found).unwrap();
        for name in ["unbiased KL off", "Keep Sampling Mask off", "seeds, thin: 2", "norm of the gradient"] {
            assert!(svg.contains(name), "{name}");
        }
        // Two rows of six charts with two runs and a mean each, and a line in the head.
        let lines = |colour: &str| svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(colour)).count();
        assert_eq!((lines("#0072B2"), lines("#D55E00")), (2 * 6 * 3 + 1, 2 * 6 * 3 + 1));
        assert!(draw(&found[..1]).is_err(), "nothing to compare with");
    }

    #[test]
    fn scales_hold_what_is_drawn() {
        assert_eq!(span(&[0.5, 1.0], false), (0.0, 1.05));
        let (low, high) = span(&[0.75, 1.0], false);
        assert!(low < 0.75 && low > 0.7 && high > 1.0, "{low}");
        assert_eq!((span(&[3.0], false), span(&[0.0, 0.0], false)), ((3.0, 4.0), (0.0, 1.0)));
        let (low, high) = span(&[-2.0, 1.0], true);
        assert!(low < -2.0 && high > 1.0);
        assert_eq!(span(&[], true), (0.0, 1.0));
        assert_eq!((label(-2.0, true), label(0.25, false), label(0.0, false)), ("0.01".into(), "0.25".into(), "0".into()));
    }
}
