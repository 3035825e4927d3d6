//! A sheet of pixels to draw on.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours that people with colour-blindness tell apart (Okabe and Ito), one for each model.
pub(super) const MODELS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const FAINT: RGBColor = RGBColor(225, 225, 225);

/// Returns the colour of a model.
pub(super) fn colour(model_idx: usize) -> RGBColor {
    MODELS[model_idx % MODELS.len()]
}

/// A sheet, in pixels from its upper left corner.
pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Draws on a white sheet of that width and height.
pub(super) fn sheet(size: (i32, i32), draw: impl FnOnce(&Canvas<'_>) -> Result<(), String>) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (size.0 as u32, size.1 as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| error.to_string())?;
        draw(&Canvas(area.clone()))?;
        area.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

impl Canvas<'_> {
    /// Writes; the anchor is where the text stands beside `at`.
    pub(super) fn text(&self, at: (i32, i32), anchor: HPos, (size, colour): (i32, RGBColor), text: &str) -> Result<(), String> {
        let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(anchor, VPos::Center));
        self.0.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| error.to_string())
    }

    /// Fills a rectangle.
    pub(super) fn fill(&self, corners: [(i32, i32); 2], colour: RGBColor) -> Result<(), String> {
        self.0.draw(&Rectangle::new(corners, colour.filled())).map_err(|error| error.to_string())
    }

    /// Draws a line through points.
    pub(super) fn line(&self, points: Vec<(i32, i32)>, (width, colour): (u32, RGBColor)) -> Result<(), String> {
        self.0.draw(&PathElement::new(points, colour.stroke_width(width))).map_err(|error| error.to_string())
    }

    /// Draws a dot: a disc, or a ring with white inside.
    pub(super) fn dot(&self, at: (i32, i32), colour: RGBColor, is_full: bool) -> Result<(), String> {
        self.0.draw(&Circle::new(at, 4, colour.filled())).map_err(|error| error.to_string())?;
        if is_full {
            return Ok(());
        }
        self.0.draw(&Circle::new(at, 2, WHITE.filled())).map_err(|error| error.to_string())
    }

    /// Writes a row of names with their dots, from the left; an item without a colour is a remark.
    pub(super) fn legend(&self, at: (i32, i32), items: &[(String, RGBColor, bool)]) -> Result<(), String> {
        let (mut x, y) = at;
        for (name, colour, is_full) in items {
            self.dot((x + 5, y), *colour, *is_full)?;
            self.text((x + 14, y), HPos::Left, (12, INK), name)?;
            // Letters of this size are 6.5 pixels wide in the mean.
            x += 34 + name.chars().count() as i32 * 13 / 2;
        }
        Ok(())
    }
}

/// A number of tokens as people write it: `512`, `4K`.
pub(super) fn length(n_tokens: usize) -> String {
    if n_tokens >= 1024 && n_tokens.is_multiple_of(1024) { format!("{}K", n_tokens / 1024) } else { n_tokens.to_string() }
}
