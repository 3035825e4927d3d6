//! The report: a page of Markdown with drawings beside it, of one model or of several side by side.

use std::fmt::Write as _;
use std::path::Path;

use sferic_tasks::{Domain, Mode};
use sferic_weights::write_atomic;

use super::config::Attention;
use super::plot;
use super::results::{Likelihood, Results, TaskScore};
use super::share::Share;
use crate::TrainError;

/// Both kinds of attention, in the order of columns.
const ATTENTIONS: [Attention; 2] = [Attention::Dense, Attention::Sparse];
/// Both manners of answering, in the order of columns.
const MODES: [Mode; 2] = [Mode::Direct, Mode::Thinking];

/// Writes `report.md` and its drawings into `folder`; with several results each figure has a column or a line for every model.
///
/// # Errors
/// [`TrainError::Plot`] when a drawing cannot be made, [`TrainError::Weights`] when a file cannot be written.
pub fn write_report(results: &[Results], folder: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io("create the report's folder", folder))?;
    let mut drawings = vec![
        ("likelihood.svg".to_owned(), plot::likelihood(results)),
        ("recall.svg".to_owned(), plot::recall(results)),
        ("tasks.svg".to_owned(), plot::tasks(results)),
    ];
    for generator in generators(results) {
        drawings.push((format!("{generator}.svg"), plot::grid(results, &generator)));
    }
    for (name, drawing) in drawings {
        let path = folder.join(name);
        let svg = drawing.map_err(|message| TrainError::Plot { message, path: path.clone() })?;
        if let Some(svg) = svg {
            write_atomic(path, svg.as_bytes())?;
        }
    }
    Ok(write_atomic(folder.join("report.md"), page(results).as_bytes())?)
}

/// The generators that a grid was asked of, in their order.
pub(super) fn generators(results: &[Results]) -> Vec<String> {
    let mut names: Vec<String> = results.iter().flat_map(|result| &result.grid).map(|score| score.generator.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// A table of Markdown; the first row is its head.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(vec![head.into_iter().map(Into::into).collect()])
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (row_idx, row) in self.0.iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if row_idx == 0 {
                // Names to the left, figures to the right.
                text += &format!("|---|{}\n", "---:|".repeat(row.len().saturating_sub(1)));
            }
        }
        text + "\n"
    }
}

fn page(results: &[Results]) -> String {
    let names: Vec<&str> = results.iter().map(|result| result.name.as_str()).collect();
    let mut text = format!("# Evaluation of {}\n\n", names.join(", "));
    let mut models = Table::new(["model", "parameters", "layers", "context", "selected", "computed by"]);
    for result in results {
        let facts = &result.facts;
        let selected = facts.index_topk.map_or("all".to_owned(), |k| k.to_string());
        let computed = format!("{}, {}", facts.device, if facts.on_kernels { "kernels" } else { "reference path" });
        let counts = [facts.n_parameters.to_string(), facts.n_layers.to_string(), facts.context.to_string(), selected];
        models.row([result.name.clone()].into_iter().chain(counts).chain([computed]));
    }
    text += &models.text();
    for result in results.iter().filter(|result| !result.complete) {
        let _ =
            writeln!(text, "The evaluation of {} was interrupted: figures are of what had been measured by then.\n", result.name);
    }
    text + &likelihood(results) + &recall(results) + &grids(results) + &tasks(results)
}

fn likelihood(results: &[Results]) -> String {
    if results.iter().all(|result| result.likelihood.is_empty()) {
        return String::new();
    }
    let mut text = "## Likelihood of held-out documents\n\nMean negative log-likelihood in nats per token.\n".to_owned();
    text +=
        "Every document is read from its beginning.\nThe gap is what sparse attention adds to the loss of dense attention.\n\n";
    text += "![Loss by position](likelihood.svg)\n\n";
    let mut head = vec!["".to_owned(), "tokens".to_owned()];
    for result in results {
        head.extend(["dense", "sparse", "gap"].map(|column| format!("{} {column}", result.name)));
    }
    let mut table = Table::new(head);
    let all = results.iter().flat_map(|result| &result.likelihood);
    let mut row = |name: String, is_meant: &dyn Fn(&Likelihood) -> bool| {
        let n_tokens = results.iter().filter_map(|result| {
            let of = |attention| {
                let found = result.likelihood.iter().filter(|found| found.attention == attention && is_meant(found));
                found.map(|found| found.n_tokens).sum::<usize>()
            };
            ATTENTIONS.map(of).into_iter().max()
        });
        let mut cells = vec![name, n_tokens.max().unwrap_or(0).to_string()];
        for result in results {
            cells.extend(ATTENTIONS.map(|attention| number(result.nll(attention, is_meant), 4)));
            cells.push(gap(result.loss_gap(is_meant)));
        }
        table.row(cells);
    };
    for source in unique(all.clone().map(|found| found.source.clone())) {
        row(source.clone(), &|found| found.source == source);
    }
    for (start, end) in unique(all.map(|found| (found.start, found.end))) {
        row(format!("positions {start} to {}", end - 1), &|found| found.start == start);
    }
    row("all".to_owned(), &|_| true);
    text + &table.text()
}

fn recall(results: &[Results]) -> String {
    if results.iter().all(|result| result.recall.iter().all(|recall| recall.layers.is_empty())) {
        return String::new();
    }
    let mut text =
        "## Recall of attention\n\nShare of the dense attention probability of all heads that a selection of `k` tokens holds, "
            .to_owned();
    text += "mean over layers.\nThe oracle takes the most attended tokens, the window the last ones.\n";
    text += "Overlap is the share of a selection that the token before selected as well; zeros is the share of index scores that are exactly zero.\n\n";
    text += "![Recall by layer](recall.svg)\n\n";
    let mut table = Table::new(["model", "tokens", "k", "indexer", "oracle", "window", "overlap", "zeros", "divergence / nats"]);
    for result in results {
        for recall in result.recall.iter().filter(|recall| !recall.layers.is_empty()) {
            let zeros = recall.layers.iter().map(|layer| layer.zeros).sum::<f64>() / recall.layers.len() as f64;
            for at in recall.layers.first().map(|layer| layer.at.as_slice()).unwrap_or_default() {
                let Some(mean) = recall.mean(at.k) else { continue };
                let shares = [mean.indexer, mean.oracle, mean.window, mean.overlap, zeros].map(|share| format!("{share:.3}"));
                let counts = [result.name.clone(), recall.length.to_string(), at.k.to_string()];
                table.row(counts.into_iter().chain(shares).chain([format!("{:.3}", recall.kl())]));
            }
        }
    }
    text + &table.text()
}

fn grids(results: &[Results]) -> String {
    let mut text = String::new();
    for generator in generators(results) {
        let title = if generator == "pairs" { "Key-value recall" } else { "Needle in a haystack" };
        let _ =
            write!(text, "## {title}\n\nShare of right answers by length of the document and depth of the place that answers.\n");
        text += &format!("![Right answers by length and depth]({generator}.svg)\n\n");
        let scores = results.iter().flat_map(|result| &result.grid).filter(|score| score.generator == generator);
        let lengths = unique(scores.map(|score| score.length));
        let mut head = vec!["model".to_owned(), "attention".to_owned()];
        head.extend(lengths.iter().map(|length| format!("{length} tokens")));
        let mut table = Table::new(head.into_iter().chain(["all".to_owned()]));
        for result in results {
            for attention in ATTENTIONS {
                let share = |length: Option<usize>| {
                    result.found(|score| {
                        score.generator == generator
                            && score.attention == attention
                            && length.is_none_or(|length| score.length == length)
                    })
                };
                if share(None).n > 0 {
                    let cells = lengths.iter().map(|&length| cell(share(Some(length)))).chain([cell(share(None))]);
                    table.row([result.name.clone(), attention.name().to_owned()].into_iter().chain(cells));
                }
            }
        }
        text += &table.text();
    }
    text
}

fn tasks(results: &[Results]) -> String {
    if results.iter().all(|result| result.tasks.is_empty()) {
        return String::new();
    }
    let mut text =
        "## Verifiable tasks\n\nShare of right answers to tasks of the test split, with 95 % intervals after Wilson.\n\n"
            .to_owned();
    text += "![Right answers by domain](tasks.svg)\n\n";
    let columns = columns(results);
    let head =
        columns.iter().map(|(result, mode, attention)| format!("{} {} {}", result.name, mode_name(*mode), attention.name()));
    let mut table = Table::new(["domain".to_owned()].into_iter().chain(head));
    let domains =
        Domain::ALL.iter().filter(|domain| results.iter().any(|result| result.accuracy(|score| score.domain == **domain).n > 0));
    for &domain in domains {
        let cells =
            columns.iter().map(|column| interval(column.0.accuracy(|score| score.domain == domain && is_in(column, score))));
        table.row([domain.to_string()].into_iter().chain(cells));
    }
    table.row(
        ["all".to_owned()]
            .into_iter()
            .chain(columns.iter().map(|column| interval(column.0.accuracy(|score| is_in(column, score))))),
    );
    let in_form = columns.iter().map(|column| {
        let found = column.0.tasks.iter().filter(|score| is_in(column, score));
        let n = found.clone().map(|score| score.share.n).sum();
        cell(Share { n, correct: found.map(|score| score.n_in_form).sum() })
    });
    table.row(["in the form that was asked for".to_owned()].into_iter().chain(in_form));
    let length = columns.iter().map(|column| {
        let found = column.0.tasks.iter().filter(|score| is_in(column, score));
        let (n, n_tokens) = found.fold((0, 0), |(n, n_tokens), score| (n + score.share.n, n_tokens + score.n_tokens));
        number((n > 0).then(|| n_tokens as f64 / n as f64), 0)
    });
    table.row(["tokens of a reply".to_owned()].into_iter().chain(length));
    text += &table.text();
    for result in results.iter().filter(|result| !result.not_asked.is_empty()) {
        let domains: Vec<String> = result.not_asked.iter().map(Domain::to_string).collect();
        let _ = writeln!(text, "{} was not asked about {}: its prompt format has no tools.\n", result.name, domains.join(", "));
    }
    for result in results.iter().filter(|result| !result.tasks.is_empty()) {
        text += &levels(result);
    }
    text
}

/// The right answers of each level of each generator.
fn levels(result: &Results) -> String {
    let columns = columns(std::slice::from_ref(result));
    let mut text =
        format!("### {} by generator and level\n\nRight answers of each level, from the first to the last.\n\n", result.name);
    let head = columns.iter().map(|(_, mode, attention)| format!("{} {}", mode_name(*mode), attention.name()));
    let mut table = Table::new(["generator".to_owned()].into_iter().chain(head).chain(["of".to_owned()]));
    for generator in unique(result.tasks.iter().map(|score| (score.domain, score.generator.clone()))) {
        let of = |score: &&TaskScore| score.domain == generator.0 && score.generator == generator.1;
        let cells = columns.iter().map(|column| {
            let levels = result.tasks.iter().filter(of).filter(|score| is_in(column, score));
            levels.map(|score| score.share.correct.to_string()).collect::<Vec<_>>().join(" ")
        });
        let most = result.tasks.iter().filter(of).map(|score| score.share.n).max().unwrap_or(0);
        table.row([format!("{}/{}", generator.0, generator.1)].into_iter().chain(cells).chain([most.to_string()]));
    }
    text += &table.text();
    text
}

/// A column of the tables of tasks.
type Column<'a> = (&'a Results, Mode, Attention);

/// The columns that have tasks.
pub(super) fn columns(results: &[Results]) -> Vec<Column<'_>> {
    let all = results.iter().flat_map(|result| MODES.map(|mode| ATTENTIONS.map(|attention| (result, mode, attention))));
    all.flatten().filter(|column| column.0.accuracy(|score| is_in(column, score)).n > 0).collect()
}

pub(super) fn is_in((_, mode, attention): &Column<'_>, score: &TaskScore) -> bool {
    score.mode == *mode && score.attention == *attention
}

pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Direct => "direct",
        Mode::Thinking => "thinking",
    }
}

/// Keeps the first of equals.
pub(super) fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(Vec::new(), |mut found, item| {
        if !found.contains(&item) {
            found.push(item);
        }
        found
    })
}

fn number(value: Option<f64>, n_decimals: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.n_decimals$}"))
}

fn gap(share: Option<f64>) -> String {
    // Hundredths of a percent; what rounds to nothing has no sign.
    let rounded = |share: f64| (share * 1e4).round() / 1e2;
    share.map_or("–".to_owned(), |share| format!("{:+.2} %", rounded(share) + 0.0))
}

fn cell(share: Share) -> String {
    share.value().map_or("–".to_owned(), |value| format!("{:.0} %", 100.0 * value))
}

fn interval(share: Share) -> String {
    let (low, high) = share.interval();
    share.value().map_or("–".to_owned(), |value| format!("{:.0} % ({:.0}–{:.0})", 100.0 * value, 100.0 * low, 100.0 * high))
}

#[cfg(test)]
#[path = "page_tests.rs"]
pub(super) mod tests;
