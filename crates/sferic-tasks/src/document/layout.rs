//! Filler with sentences planted into it.

use crate::filler::{Filler, PlainFiller, sentences};
use crate::random::Draws;
use crate::setting::Setting;

/// How many pieces of filler in a row may be passed over before the filler is given up.
const MAX_PASSED: usize = 200;

/// A sentence of a document.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) starts_paragraph: bool,
}

/// What a document is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    /// Sentences that must be there, in their order, at places that are drawn.
    pub(super) required: &'a [String],
    /// Sentences that are there if the room allows it, in any order.
    pub(super) optional: &'a [String],
    /// What the filler must not contain, capitals aside.
    pub(super) avoid: &'a [String],
}

/// Writes a document that takes at most `room` units, if its required sentences do.
pub(super) fn document(draws: &mut Draws, setting: &Setting, room: usize, plan: Plan<'_>) -> String {
    let length = |text: &str| setting.length_of(text) + setting.length_of("\n\n");
    let mut left = room.saturating_sub(plan.required.iter().map(|text| length(text)).sum());
    let mut optional = Vec::new();
    for text in plan.optional {
        // Half of the room at least is for filler.
        if length(text) * 2 <= left {
            left -= length(text);
            optional.push(text.clone());
        }
    }
    let mut pieces = filler(draws, setting, left, plan.avoid);
    let mut places: Vec<usize> = plan.required.iter().map(|_| draws.below(pieces.len() + 1)).collect();
    places.sort_unstable();
    // From the end, so that earlier places stay what they are.
    for (text, place) in plan.required.iter().zip(places).rev() {
        plant(draws, &mut pieces, place, text);
    }
    for text in &optional {
        let place = draws.below(pieces.len() + 1);
        plant(draws, &mut pieces, place, text);
    }
    joined(&pieces)
}

/// Reads sentences of filler until `room` is used up.
pub(super) fn filler(draws: &mut Draws, setting: &Setting, room: usize, avoid: &[String]) -> Vec<Piece> {
    let avoid: Vec<String> = avoid.iter().map(|text| text.to_lowercase()).collect();
    let is_free = |text: &str| {
        let lower = text.to_lowercase();
        !avoid.iter().any(|avoided| lower.contains(avoided))
    };
    let (mut pieces, mut left, mut n_passed) = (Vec::new(), room, 0);
    while n_passed < MAX_PASSED {
        let source: &dyn Filler = if n_passed < MAX_PASSED / 2 { setting.filler() } else { &PlainFiller };
        let n_before = pieces.len();
        for paragraph in source.paragraphs(draws).take(MAX_PASSED) {
            let mut starts_paragraph = true;
            for sentence in sentences(&paragraph) {
                let length = setting.length_of(sentence) + setting.length_of("\n\n");
                if length > left || !is_free(sentence) {
                    n_passed += 1;
                    continue;
                }
                left -= length;
                pieces.push(Piece { text: sentence.to_owned(), starts_paragraph });
                starts_paragraph = false;
            }
            // What is left is too little for a sentence, or the filler does not fit.
            if left * 16 < room || n_passed >= MAX_PASSED {
                return pieces;
            }
        }
        n_passed += usize::from(pieces.len() == n_before);
    }
    pieces
}

/// Puts a sentence between others, in a paragraph of its own in two of five cases.
fn plant(draws: &mut Draws, pieces: &mut Vec<Piece>, place: usize, text: &str) {
    let alone = place == 0 || draws.chance(0.4);
    if let Some(next) = pieces.get_mut(place)
        && alone
        && place > 0
    {
        next.starts_paragraph = true;
    }
    pieces.insert(place, Piece { text: text.to_owned(), starts_paragraph: alone });
}

/// Joins sentences with spaces and paragraphs with blank lines.
pub(super) fn joined(pieces: &[Piece]) -> String {
    let mut text = String::new();
    for piece in pieces {
        if !text.is_empty() {
            text.push_str(if piece.starts_paragraph { "\n\n" } else { " " });
        }
        text.push_str(&piece.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filler::TextFiller;

    #[test]
    fn a_document_fills_its_room_and_has_what_was_planted_in_order() {
        let setting = Setting::characters(PlainFiller, 3000);
        let required = ["First one.".to_owned(), "Second one.".to_owned()];
        let plan = Plan { required: &required, optional: &["Third one.".to_owned()], avoid: &["market".to_owned()] };
        for seed in 0..20 {
            let text = document(&mut Draws::new(seed), &setting, 3000, plan);
            assert!((2600..=3000).contains(&text.len()), "{}", text.len());
            assert!(
                text.find("First one.") < text.find("Second one.") && text.contains("First one.") && text.contains("Third one.")
            );
            assert!(!text.contains("market"));
        }
    }

    #[test]
    fn filler_that_never_fits_is_replaced() {
        let setting = Setting::characters(TextFiller::new(["a market"]), 3000);
        let plan = Plan { required: &[], optional: &[], avoid: &["market".to_owned()] };
        assert!(document(&mut Draws::new(1), &setting, 3000, plan).len() > 2000);
    }

    #[test]
    fn sentences_are_planted_at_any_depth() {
        let setting = Setting::default();
        let required = ["Here.".to_owned()];
        let depths = (0..200).map(|seed| {
            let text = document(&mut Draws::new(seed), &setting, 4000, Plan { required: &required, optional: &[], avoid: &[] });
            text.find("Here.").unwrap_or_default() * 4 / text.len()
        });
        let mut counts = [0; 4];
        depths.for_each(|quarter| counts[quarter] += 1);
        assert!(counts.iter().all(|count| *count > 25), "{counts:?}");
    }
}
