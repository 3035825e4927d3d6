//! Standard output and standard error: the one carries results, the other everything else.

use anyhow::{Context, Result};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Writes a line to standard error. A closed standard error is nobody's problem.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a line to standard error, dim on a terminal.
pub fn dim(line: &str) {
    let has_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if has_colour { note(&format!("\x1b[2m{line}\x1b[0m")) } else { note(line) }
}

/// Writes text to standard output at once.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Writes one JSON value on a line of its own to standard output at once.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&(serde_json::to_string(value).context("cannot write json")? + "\n"))
}

/// Lays out `rows` in columns, each as wide as its widest cell. The last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let n_cols = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |col: usize| rows.iter().filter_map(|row| row.get(col)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_cols).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of [`table`].
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// `1.5 GiB`.
pub fn bytes(size_bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| size_bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", size_bytes as f64 / (1u64 << shift) as f64),
        None => format!("{size_bytes} B"),
    }
}

/// `13.1 M`.
pub fn count(n: u64) -> String {
    let units = [("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)];
    match units.iter().find(|(_, unit)| n as f64 >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", n as f64 / unit),
        None => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(count(999), "999");
        assert_eq!(count(13_100_000), "13.1 M");
        assert_eq!(count(671_000_000_000), "671.0 B");
    }

    #[test]
    fn columns_line_up() {
        let rows = [row(["a", "b"]), row(["long", "x"]), row(["Δ", "y"])];
        assert_eq!(table(&rows), "a     b\nlong  x\nΔ     y\n");
    }
}
