//! What `sferic bench attention` measures and refuses, on any adapter, the software rasteriser included.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Run, sferic};

const TINY: [&str; 10] =
    ["bench", "attention", "--shape", "v2-lite", "--lengths", "64,128", "--queries", "1,3", "--samples", "3"];

/// The run with more arguments, or `None` where there is no adapter and none is required.
fn attention(more: &[&str]) -> Option<Run> {
    let run = sferic(TINY.iter().chain(more));
    if run.code == Some(3) && run.stderr.contains("no GPU adapter") && std::env::var_os("SFERIC_REQUIRE_GPU").is_none() {
        return None;
    }
    run.assert_done();
    Some(run)
}

#[test]
fn every_row_has_times_and_the_drawing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("attention.svg");
    let Some(run) = attention(&["--json", "--svg", svg.to_str().unwrap()]) else { return };
    let report = &run.json_lines()[0];
    let rows = report["rows"].as_array().unwrap();
    let sizes: Vec<_> = rows.iter().map(|row| (row["queries"].as_u64().unwrap(), row["cached"].as_u64().unwrap())).collect();
    assert_eq!(sizes, [(1, 64), (1, 128), (3, 64), (3, 128)]);
    for row in rows {
        for part in ["scores", "top_k", "attention", "sparse", "dense"] {
            assert!(row["figures"][part]["microseconds"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    assert_eq!(report["crossovers"].as_array().unwrap().len(), 2);
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.contains("1 query") && svg.contains("3 queries"));
}

#[test]
fn people_get_a_table_and_pages_get_markdown() {
    let Some(run) = attention(&[]) else { return };
    for part in ["v2-lite: 16 heads", "queries  cached  scores", "microseconds for one layer"] {
        assert!(run.stdout.contains(part), "{part:?} is missing in: {}", run.stdout);
    }
    let Some(run) = attention(&["--markdown", "--dtype", "fp8"]) else { return };
    assert!(run.stdout.contains("| queries | cached | scores |") && run.stdout.contains("fp8 caches"), "{}", run.stdout);
}

#[test]
fn numbers_out_of_range_end_with_2() {
    let refusals: [(&[&str], &str); 6] = [
        (&["--queries", "16", "--lengths", "8"], "16 queries do not fit in 8 cached tokens"),
        (&["--queries", "0"], "0 queries"),
        (&["--lengths", "2000000"], "2000000 cached tokens"),
        (&["--lengths", "64M"], "64K"),
        (&["--json", "--markdown"], "--markdown"),
        (&["--shape", "v9"], "v2-lite"),
    ];
    for (args, part) in refusals {
        sferic(["bench", "attention"].iter().chain(args)).assert_fails(2, &[part]);
    }
    sferic(["bench", "attention", "--adapter", "no such adapter"]).assert_fails(3, &["no such adapter"]);
}
