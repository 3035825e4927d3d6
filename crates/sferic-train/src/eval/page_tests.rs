use super::super::recall::{LayerRecall, Recall, RecallAt};
use super::super::results::{GridScore, ModelFacts};
use super::*;

/// Results with a figure of every kind; `correct` of ten answers are right.
pub(crate) fn results(name: &str, correct: usize) -> Results {
    let likelihood =
        |attention, start, end, nll| Likelihood { source: "books".to_owned(), attention, start, end, n_tokens: 100, nll };
    let at = RecallAt { k: 512, indexer: 0.9, oracle: 0.95, window: 0.5, overlap: 0.8 };
    let layer = |layer| LayerRecall { layer, kl: 0.25, entropy: 3.0, zeros: 0.125, at: vec![at] };
    let task = |domain, mode, attention, correct| TaskScore {
        domain,
        generator: "addition".to_owned(),
        level: 1,
        mode,
        attention,
        share: Share { n: 10, correct },
        n_in_form: 9,
        n_tokens: 70,
    };
    let cell = |attention, length, depth| GridScore {
        generator: "needle".to_owned(),
        attention,
        length,
        depth,
        n_depths: 2,
        share: Share { n: 4, correct: 1 + depth },
    };
    Results {
        version: 1,
        name: name.to_owned(),
        facts: ModelFacts {
            n_parameters: 28_000_000,
            n_layers: 2,
            context: 16_384,
            index_topk: Some(512),
            ..ModelFacts::default()
        },
        model_hash: String::new(),
        seed: 1,
        complete: true,
        likelihood: vec![
            likelihood(Attention::Dense, 0, 1024, 2.0),
            likelihood(Attention::Dense, 1024, 4096, 3.0),
            likelihood(Attention::Sparse, 0, 1024, 2.0),
            likelihood(Attention::Sparse, 1024, 4096, 3.5),
        ],
        recall: vec![Recall { length: 8192, n_texts: 1, n_queries: 64, layers: vec![layer(0), layer(1)] }],
        grid: vec![cell(Attention::Sparse, 1024, 0), cell(Attention::Sparse, 1024, 1), cell(Attention::Sparse, 2048, 0)],
        tasks: vec![
            task(Domain::Math, Mode::Direct, Attention::Dense, correct),
            task(Domain::Math, Mode::Direct, Attention::Sparse, correct),
        ],
        not_asked: vec![Domain::Agent],
    }
}

/// Returns the cells of the row that begins with `name` behind the heading `section`.
fn row<'a>(page: &'a str, section: &str, name: &str) -> Vec<&'a str> {
    let from = page.find(section).unwrap_or(page.len());
    let line = page[from..].lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap_or_default();
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn figures_of_several_models_stand_side_by_side() {
    let page = page(&[results("base", 0), results("sft", 5)]);
    assert!(page.starts_with("# Evaluation of base, sft\n"));
    // Means over tokens: (2 + 3) / 2 and (2 + 3.5) / 2, a tenth more.
    let all = row(&page, "## Likelihood", "all");
    assert_eq!(all, ["all", "200", "2.5000", "2.7500", "+10.00 %", "2.5000", "2.7500", "+10.00 %"]);
    assert_eq!(row(&page, "## Likelihood", "positions 0 to 1023")[1..5], ["100", "2.0000", "2.0000", "+0.00 %"]);
    assert_eq!(row(&page, "## Recall", "sft")[1..], ["8192", "512", "0.900", "0.950", "0.500", "0.800", "0.125", "0.250"]);
    // One of four and two of four, and one of four at twice the length.
    assert_eq!(row(&page, "## Needle", "sft")[1..], ["sparse", "38 %", "25 %", "33 %"]);
    let math = row(&page, "## Verifiable", "math");
    assert_eq!(math, ["math", "0 % (0–28)", "0 % (0–28)", "50 % (24–76)", "50 % (24–76)"]);
    assert_eq!(row(&page, "## Verifiable", "tokens of a reply")[1], "7");
    assert_eq!(row(&page, "### sft by generator", "math/addition")[1..], ["5", "5", "10"]);
    // Every row of a table has as many cells as its head.
    let mut width = None;
    for line in page.lines() {
        let cells = line.starts_with('|').then(|| line.matches('|').count());
        assert!(width.is_none() || cells.is_none() || cells == width, "{line}");
        width = cells;
    }
    assert!(!page.contains("interrupted") && page.contains("sft was not asked about agent"), "{page}");
}

#[test]
fn gaps_have_a_sign_and_nothing_has_none() {
    assert_eq!([gap(Some(0.0123)), gap(Some(-0.1)), gap(Some(-1e-6)), gap(None)], ["+1.23 %", "-10.00 %", "+0.00 %", "–"]);
}

#[test]
fn what_was_not_measured_has_no_section() {
    let mut none = results("base", 1);
    (none.likelihood, none.recall, none.grid, none.tasks, none.not_asked) = Default::default();
    none.complete = false;
    let page = page(std::slice::from_ref(&none));
    assert!(!page.contains("##") && page.contains("interrupted"), "{page}");
    let mut dense = results("base", 1);
    dense.likelihood.retain(|found| found.attention == Attention::Dense);
    let page = super::page(std::slice::from_ref(&dense));
    assert_eq!(row(&page, "## Likelihood", "all")[2..], ["2.5000", "–", "–"]);
}
