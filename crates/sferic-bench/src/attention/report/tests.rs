#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::*;

fn part(microseconds: f64) -> PartFigures {
    PartFigures {
        microseconds,
        spread: 0.01,
        samples: 9,
        gigabytes_per_second: 1.0,
        share_of_copy: 0.1,
        teraflops: 2.0,
        spread_megabytes: 300.0,
    }
}

fn row(queries: u32, cached: u32, sparse: f64, dense: f64) -> AttentionRow {
    let figures = AttentionFigures {
        scores: part(sparse / 4.0),
        top_k: part(sparse / 4.0),
        attention: part(sparse / 2.0),
        sparse: part(sparse),
        dense: Some(part(dense)),
    };
    AttentionRow { queries, cached, figures: Some(figures), reason: None }
}

fn report(rows: Vec<AttentionRow>) -> AttentionReport {
    AttentionReport {
        device: "a device".into(),
        driver: "1.0".into(),
        api: "vulkan".into(),
        features: "base".into(),
        shape: Shape::V32,
        dtype: CacheDtype::F16,
        copy_gigabytes_per_second: 100.0,
        notes: vec!["a note".into()],
        crossovers: crossovers(&rows),
        rows,
        prefill: None,
    }
}

fn example() -> AttentionReport {
    let mut rows: Vec<_> = (10..18).map(|power| row(1, 1 << power, 50.0, f64::from(1 << (power - 7)))).collect();
    rows.extend((10..18).map(|power| row(16, 1 << power, 90.0 + f64::from(1 << power) / 4096.0, f64::from(1 << (power - 4)))));
    report(rows)
}

#[test]
fn the_first_length_at_which_sparse_is_faster_is_marked_once_for_each_query_count() {
    let report = example();
    let at: Vec<_> = report.crossovers.iter().map(|at| (at.queries, at.cached)).collect();
    assert_eq!(at, [(1, Some(8192)), (16, Some(2048))]);
    let marked: Vec<_> = report.table().into_iter().filter(|cells| cells.last().unwrap().contains("sparse wins")).collect();
    assert_eq!(marked.iter().map(|cells| &cells[1][..]).collect::<Vec<_>>(), ["8K", "2K"]);
    let never = super::tests::report(vec![row(1, 64, 2.0, 1.0)]);
    assert_eq!(never.crossovers[0].cached, None);
    assert!(never.markdown().contains("not faster at any"));
    let noise = super::tests::report(vec![row(1, 64, 1.0, 1.015)]);
    assert_eq!(noise.crossovers[0].cached, None);
}

#[test]
fn a_failure_stands_where_its_times_would() {
    let mut rows = example().rows;
    rows[0].figures = None;
    rows[0].reason = Some("FAIL score of query 0".into());
    let report = report(rows);
    assert!(report.failed());
    assert_eq!(report.table()[1][2], "FAIL score of query 0");
    assert!(report.markdown().contains("| 1 | 1K | FAIL score of query 0 |  |"));
    assert!(!example().failed());
}

#[test]
fn a_prefill_has_a_table_of_its_own() {
    let mut report = example();
    assert!(report.prefill_table().is_empty());
    report.prefill = Some(row(2048, 65_536, 40.0, 1.0));
    assert_eq!(report.prefill_table()[0][0], "prefill of 2048 at 64K");
    assert_eq!(report.prefill_table()[3], ["attention", "20.0", "1.0 %", "2.00", "1"]);
    assert!(report.markdown().contains("| attention | 20.0 | 1.0 % | 2.00 | 1 |"));
}

#[test]
fn the_drawing_has_a_panel_for_each_query_count_and_a_dot_for_each_figure() {
    let svg = example().svg().unwrap();
    assert!(svg.starts_with("<svg"));
    for text in
        ["1 query", "16 queries", "sparse wins from 8K", "sparse wins from 2K", "dense attention", "cached tokens", "128K"]
    {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(svg.matches("<circle").count(), 2 * 8 * 5);
    let mut empty = example();
    empty.rows.iter_mut().for_each(|row| row.figures = None);
    assert!(empty.svg().is_err());
}
