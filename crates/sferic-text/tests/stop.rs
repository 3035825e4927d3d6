//! The verdict on stop strings equals a search of the whole text, however the text is cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use sferic_text::{StopMatcher, TextError};

/// Looks at every end, shortest text first, and there at every start, longest match first.
fn naive(text: &str, stops: &[String]) -> Option<(String, usize)> {
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        for start in (0..end).filter(|start| text.is_char_boundary(*start)) {
            if let Some(stop_idx) = stops.iter().position(|stop| *stop == text[start..end]) {
                return Some((text[..start].into(), stop_idx));
            }
        }
    }
    None
}

/// Cuts a text at pseudo-random characters.
fn cut(text: &str, sizes: &[usize]) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut chunks, mut offset) = (Vec::new(), 0);
    for size in sizes.iter().cycle().take(2 * chars.len() + 1) {
        let end = (offset + size).min(chars.len());
        chunks.push(chars[offset..end].iter().collect());
        offset = end;
    }
    chunks.push(chars[offset..].iter().collect());
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // Few letters, so that matches, near misses and overlaps are frequent.
    #[test]
    fn any_cut_gives_the_naive_answer(text in "[abé]{0,30}", stops in vec("[abé]{1,4}", 0..4), sizes in vec(0usize..5, 1..8)) {
        let mut matcher = StopMatcher::new(stops.clone()).unwrap();
        let (mut shown, mut stop_idx, mut seen) = (String::new(), None, String::new());
        for chunk in cut(&text, &sizes) {
            let stopped_before = stop_idx.is_some();
            let output = matcher.push(&chunk);
            prop_assert!(!stopped_before || output.text.is_empty());
            shown.push_str(&output.text);
            seen.push_str(&chunk);
            stop_idx = output.stop_idx;
            prop_assert_eq!(stop_idx, matcher.stopped());
            if stop_idx.is_none() {
                // What is held back must begin a stop string, or nobody would need to wait for it.
                let held = &seen[shown.len()..];
                prop_assert!(held.is_empty() || stops.iter().any(|stop| stop.starts_with(held)), "held {held:?}");
            }
        }
        shown.push_str(&matcher.finish());
        match naive(&text, &stops) {
            Some((before, expected_idx)) => {
                prop_assert_eq!(shown, before);
                prop_assert_eq!(stop_idx, Some(expected_idx));
            }
            None => {
                prop_assert_eq!(shown, text);
                prop_assert_eq!(stop_idx, None);
            }
        }
    }
}

#[test]
fn text_after_the_stop_is_dropped() {
    let mut matcher = StopMatcher::new(["\nUser:", "END"]).unwrap();
    assert_eq!(matcher.push("Hi.\nUs").text, "Hi.");
    assert_eq!(matcher.push("e").text, "");
    assert_eq!(matcher.push("less\nUser").text, "\nUseless");
    let output = matcher.push(": never");
    assert_eq!((output.text.as_str(), output.stop_idx), ("", Some(0)));
    assert_eq!(matcher.push("more").text, "");
    assert_eq!(matcher.finish(), "");
}

#[test]
fn an_empty_stop_string_is_refused() {
    assert!(matches!(StopMatcher::new(["a", ""]), Err(TextError::EmptyStopString { stop_idx: 1 })));
    assert_eq!(StopMatcher::new([""; 0]).unwrap().push("all").text, "all");
}
