//! What generators of documents are given.

use std::fmt;

use crate::filler::{Filler, PlainFiller};

/// How many characters a document has at most, if nobody says otherwise.
const DEFAULT_LENGTH: usize = 4000;

/// Where filler comes from, and how long documents are. Tasks without a document ignore it.
pub struct Setting {
    filler: Box<dyn Filler + Send + Sync>,
    measure: Box<dyn Fn(&str) -> usize + Send + Sync>,
    max_length: usize,
}

impl Setting {
    /// Makes documents of at most `max_length` characters.
    pub fn characters(filler: impl Filler + Send + Sync + 'static, max_length: usize) -> Self {
        Self::measured(filler, max_length, |text| text.chars().count())
    }

    /// Makes documents of at most `max_length` units as `measure` counts them, tokens for example.
    ///
    /// A document is counted paragraph by paragraph, each with the line end behind it, so that the whole is counted once;
    /// with a tokenizer that joins across line ends the sum may be off by a token for each paragraph.
    pub fn measured(
        filler: impl Filler + Send + Sync + 'static,
        max_length: usize,
        measure: impl Fn(&str) -> usize + Send + Sync + 'static,
    ) -> Self {
        Self { filler: Box::new(filler), measure: Box::new(measure), max_length }
    }

    /// Where filler comes from.
    pub(crate) fn filler(&self) -> &dyn Filler {
        self.filler.as_ref()
    }

    /// Counts the units of a text.
    pub fn length_of(&self, text: &str) -> usize {
        (self.measure)(text)
    }

    /// The longest document of a level: all of the length at the highest, half of the next for each level below.
    pub fn max_length(&self, level: u8, n_levels: u8) -> usize {
        self.max_length >> n_levels.saturating_sub(level)
    }
}

impl Default for Setting {
    /// Simple sentences, at most 4000 characters.
    fn default() -> Self {
        Self::characters(PlainFiller, DEFAULT_LENGTH)
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("max_length", &self.max_length).finish_non_exhaustive()
    }
}
