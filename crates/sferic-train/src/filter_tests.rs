#![allow(clippy::unwrap_used)]

use super::*;

fn apply(filter: &Filter, documents: &[&str]) -> (Vec<Option<String>>, FilterCounts) {
    let (mut seen, mut counts) = (Seen::default(), FilterCounts::default());
    let kept = documents.iter().map(|document| filter.apply(document, &mut seen, &mut counts)).collect();
    (kept, counts)
}

#[test]
fn repeated_documents_and_paragraphs_are_dropped() {
    let boiler = "This page was written by the authors of the manual.";
    let other =
        |n: usize| format!("# Page {n}\n\nA page about the {} goat and everything it does.\n\n{boiler}", "very ".repeat(n));
    let documents: Vec<String> = (1..=5).map(other).collect();
    let mut documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    // The same page but for a number and the case.
    documents.push("# page 1\n\na PAGE about the 7 very goat and everything it does");
    let filter = Filter { max_repeats: 2, max_repeated_share: 0.6, ..Filter::default() };
    let (kept, counts) = apply(&filter, &documents);
    let n_with_boiler = kept.iter().flatten().filter(|text| text.contains(boiler)).count();
    assert_eq!((n_with_boiler, kept.iter().flatten().count()), (2, 5));
    assert_eq!(kept[5], None);
    assert_eq!((counts.n_repeated_documents, counts.n_repeated_paragraphs), (1, 3));
    assert_eq!(counts.n_bytes_before, documents.iter().map(|document| document.len()).sum::<usize>());
    assert_eq!(counts.n_bytes_after, kept.iter().flatten().map(String::len).sum::<usize>());
}

#[test]
fn short_repeats_are_no_copies() {
    let (kept, counts) = apply(&Filter { max_repeats: 1, max_repeated_share: 0.0, ..Filter::default() }, &["\"Yes, sir.\""; 3]);
    assert_eq!(kept.iter().flatten().count(), 3);
    assert_eq!(counts.n_repeated_documents, 0);
}

#[test]
fn paragraphs_that_are_no_prose_go_with_their_headings() {
    let filter = Filter { min_letters: 0.8, drop_containing: vec!["<a>".to_owned()], min_bytes: 20, ..Filter::default() };
    let document = "# Goats\n\n## Table\n\n| 1 | 2 | 3 |\n\n## Life\n\nGoats eat hay, and sleep.\n\nSee <a>hay</a> as well.\n\n# Sheep\n\n## Wool";
    let (kept, counts) = apply(&filter, &[document, "# Nothing\n\n=====", "Too short, all of it"]);
    assert_eq!(kept[0].as_deref(), Some("# Goats\n\n## Life\n\nGoats eat hay, and sleep."));
    assert_eq!(kept[1], None);
    assert!(kept[2].is_some());
    // Table and its heading, the link, Sheep and Wool; then the rule and its heading.
    assert_eq!((counts.n_odd_paragraphs, counts.n_short_documents), (7, 1));
}

#[test]
fn references_become_their_text() {
    let cases = [
        (
            "The *note curses.textpad: 2d. module and *note ast.literal_eval(): 8d0.",
            "The curses.textpad module and ast.literal_eval()",
        ),
        ("A *note on goats: see below.", "A on goats: see below."),
        ("the standard :meth:`~dict.keys`, :py:func:`len` and :ref:`a text <label>`.", "the standard dict.keys, len and a text."),
        ("Code :`x` and a:`y` and :meth:`open", "Code :`x` and a:`y` and :meth:`open"),
        ("größe:`x` *note", "größe:`x` *note"),
    ];
    for (text, expected) in cases {
        assert_eq!(plain_references(text), expected);
    }
}

#[test]
fn impossible_rules_are_refused() {
    let error = Filter { min_letters: 1.5, ..Filter::default() }.check("f").unwrap_err().to_string();
    assert!(error.contains("f.min_letters"), "{error}");
    let error = Filter { max_repeats: 0, ..Filter::default() }.check("f").unwrap_err().to_string();
    assert!(error.contains("f.max_repeats"), "{error}");
    Filter::default().check("f").unwrap();
}
