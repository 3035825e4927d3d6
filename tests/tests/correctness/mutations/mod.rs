//! The mutation table: every bug of spec §9 that inference can have is switched on alone, and some check of this suite turns red.
//!
//! Bugs are put into the real model where its configuration, its weights or its switches can express them, and judged by the reference
//! checkpoints. The others are put into the composed layer and judged by the numbers of spec §11.
//! `cargo test --release --workspace mutations -- --nocapture` prints the tables.

/// Bugs in the composed layer.
mod layer;
/// Bugs in the real model.
mod model;
/// Bugs in routing and selection, on cases small enough to be done by hand.
mod rules;

/// A check that failed.
struct Red {
    check: String,
    number: String,
}

/// Bugs and what they turned red.
#[derive(Default)]
struct Table {
    rows: Vec<String>,
    missed: Vec<String>,
    n_bugs: usize,
}

impl Table {
    fn add(&mut self, item: &str, bug: &str, judge: &str, reds: Vec<Red>) {
        self.n_bugs += 1;
        match reds.first() {
            Some(red) => {
                self.rows.push(format!("{item:5} {bug:46} {judge:18} {} red, first {}: {}", reds.len(), red.check, red.number))
            }
            None => self.missed.push(format!("{item} {bug}")),
        }
    }

    #[track_caller]
    fn finish(self) {
        println!("{}", self.rows.join("\n"));
        assert!(self.missed.is_empty(), "no check is red for: {}", self.missed.join("; "));
    }
}
