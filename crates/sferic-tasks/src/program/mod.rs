//! Strings, lists and small programs.

mod count;
mod list;
mod run;
mod text;

use crate::generator::Generator;
use crate::task::Domain::Program;

pub(crate) const GENERATORS: &[Generator] = &[
    Generator::new(Program, "text", 4, text::text),
    Generator::new(Program, "list", 4, list::list),
    Generator::new(Program, "count", 3, count::count),
    Generator::new(Program, "run", 4, run::run),
];
