//! Training and test, and a balanced stream of tasks.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::generator::Generator;
use crate::random::{Draws, fingerprint, seed_of};
use crate::setting::Setting;
use crate::task::Task;

/// One of so many problems is kept for tests.
const TEST_SHARE: u64 = 16;
/// How many duplicates in a row end a level of a generator.
const MAX_DUPLICATES: usize = 50;

/// Which half of all problems a task belongs to.
///
/// It follows from a hash of the generator's name and the problem's key alone. So no problem of the tests occurs in training,
/// whatever the seeds, and neither does the same problem in other words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Fifteen of sixteen problems.
    Train,
    /// The rest.
    Test,
}

impl Split {
    /// Returns the split of a task.
    pub fn of(task: &Task) -> Self {
        if fingerprint(&[&task.name, &task.key]).is_multiple_of(TEST_SHARE) { Self::Test } else { Self::Train }
    }
}

/// A level of a generator.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// The generator.
    pub generator: Generator,
    /// The level.
    pub level: u8,
}

impl Cell {
    /// Returns every level of every generator.
    pub fn all() -> Vec<Self> {
        let levels = |generator: Generator| (1..=generator.n_levels).map(move |level| Self { generator, level });
        Generator::all().into_iter().flat_map(levels).collect()
    }
}

/// A stream of different tasks in which every cell has the same share.
///
/// It goes round: each round visits every cell once, in an order of its own. A cell that gives nothing but duplicates is left
/// out from then on; the stream ends when no cell is left. Equal arguments give equal streams.
#[derive(Debug)]
pub struct Sampler<'a> {
    setting: &'a Setting,
    split: Split,
    seed: u64,
    cells: Vec<Cell>,
    /// Cells of this round that are still to be visited.
    round: Vec<Cell>,
    n_drawn: u64,
    seen: HashSet<u64>,
}

impl<'a> Sampler<'a> {
    /// Makes a stream over the given cells; a cell that stands there twice has twice the share.
    pub fn new(cells: Vec<Cell>, split: Split, seed: u64, setting: &'a Setting) -> Self {
        Self { setting, split, seed, cells, round: Vec::new(), n_drawn: 0, seen: HashSet::new() }
    }

    /// Draws from a cell until a task is new; `None` if there is none.
    fn draw(&mut self, cell: Cell) -> Result<Option<Task>> {
        for _ in 0..MAX_DUPLICATES {
            self.n_drawn += 1;
            let seed = seed_of(self.seed, self.n_drawn);
            let Some(task) = cell.generator.task_in(self.split, cell.level, seed, self.setting)? else { return Ok(None) };
            if self.seen.insert(task.fingerprint()) {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }
}

impl Iterator for Sampler<'_> {
    type Item = Result<Task>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.round.is_empty() {
                self.round = self.cells.clone();
                Draws::new(seed_of(self.seed, self.n_drawn.wrapping_neg())).shuffle(&mut self.round);
            }
            let cell = self.round.pop()?;
            match self.draw(cell) {
                Ok(Some(task)) => return Some(Ok(task)),
                Ok(None) => {
                    let is_other = |other: &Cell| (other.generator.name, other.level) != (cell.generator.name, cell.level);
                    self.cells.retain(is_other);
                    self.round.retain(is_other);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
