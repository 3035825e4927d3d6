//! Form, politeness, honesty: what rules can verify of a good answer.

mod bank;
mod honest;
mod polite;
mod shape;

use crate::generator::Generator;
use crate::task::Domain::Alignment;

pub(crate) const GENERATORS: &[Generator] = &[
    Generator::new(Alignment, "sentences", 3, shape::sentences),
    Generator::new(Alignment, "items", 3, shape::items),
    Generator::new(Alignment, "record", 2, shape::record),
    Generator::new(Alignment, "polite", 2, polite::polite),
    Generator::new(Alignment, "honest", 2, honest::honest),
];
