#![allow(clippy::unwrap_used)]

use super::*;
use crate::eval::page::tests::results;

/// Counts elements of a drawing.
fn count(svg: &str, element: &str) -> usize {
    svg.matches(&format!("<{element} ")).count()
}

/// The texts of a drawing.
fn texts(svg: &str) -> Vec<&str> {
    let mut inside = false;
    let is_text = |line: &&str| {
        let was = inside;
        inside = line.starts_with("<text") || (inside && !line.starts_with("</text"));
        was && inside
    };
    svg.lines().filter(is_text).map(str::trim).collect()
}

#[test]
fn every_cell_of_a_grid_is_coloured_and_has_its_number() {
    let svg = grid(&[results("base", 1), results("sft", 2)], "needle").unwrap().unwrap();
    // Three cells for each of two models, and the sheet.
    assert_eq!(count(&svg, "rect"), 7);
    let texts = texts(&svg);
    assert_eq!(texts.iter().filter(|text| **text == "25").count(), 4, "{texts:?}");
    assert_eq!(texts.iter().filter(|text| **text == "50").count(), 2);
    for name in [
        "base, sparse attention: right answers in %",
        "sft, sparse attention: right answers in %",
        "1K",
        "2K",
        "0–50 %",
        "50–100 %",
    ] {
        assert!(texts.contains(&name), "{name} {texts:?}");
    }
}

#[test]
fn every_figure_has_its_mark() {
    let results = [results("base", 1), results("sft", 2)];
    let svg = likelihood(&results).unwrap().unwrap();
    // Two models, two stretches: rings of two circles, discs of one; and the legend's two.
    assert_eq!(count(&svg, "circle"), 2 * 2 * 3 + 2);
    let svg = recall(&results).unwrap().unwrap();
    assert_eq!(count(&svg, "circle"), 2 * 2 * 3 + 3);
    assert!(texts(&svg).contains(&"sft: 512 of 8K tokens"));
    let svg = tasks(&results).unwrap().unwrap();
    // Rows for one domain and for all, a ring and a disc for each model.
    assert_eq!(count(&svg, "circle"), 2 * 2 * 3 + 2);
    assert!(["math", "all", "direct", "base"].iter().all(|name| texts(&svg).contains(name)), "{:?}", texts(&svg));
}

#[test]
fn nothing_gives_no_drawing() {
    let mut none = results("base", 1);
    (none.likelihood, none.recall, none.grid, none.tasks, none.not_asked) = Default::default();
    let none = [none];
    for drawing in [likelihood(&none), recall(&none), tasks(&none), grid(&none, "needle")] {
        assert_eq!(drawing.unwrap(), None);
    }
}
