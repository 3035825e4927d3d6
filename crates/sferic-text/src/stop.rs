//! Stop strings in a stream of text.

use crate::error::{Result, TextError};

/// Looks for stop strings in text that arrives in pieces of any size.
///
/// The verdict does not depend on the pieces: text ends before the stop string whose last character comes first, and
/// before the longest one if several end there. Only text that may still become part of a stop string is held back.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    stopped: Option<usize>,
}

/// What [`StopMatcher::push`] lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOutput {
    /// Text that is safe to show; may be empty.
    pub text: String,
    /// The stop string that ended the text, as an index into the list given to [`StopMatcher::new`].
    pub stop_idx: Option<usize>,
}

impl StopMatcher {
    /// Makes a matcher; with no stop strings it lets everything through.
    ///
    /// # Errors
    /// [`TextError::EmptyStopString`].
    pub fn new(stops: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let stops: Vec<String> = stops.into_iter().map(Into::into).collect();
        match stops.iter().position(String::is_empty) {
            Some(stop_idx) => Err(TextError::EmptyStopString { stop_idx }),
            None => Ok(Self { stops, held: String::new(), stopped: None }),
        }
    }

    /// Takes the next piece of text. Once a stop string was found, all further text is dropped.
    pub fn push(&mut self, text: &str) -> StopOutput {
        if self.stopped.is_some() {
            return StopOutput { text: String::new(), stop_idx: self.stopped };
        }
        self.held.push_str(text);
        if let Some((start, stop_idx)) = self.first_match() {
            self.stopped = Some(stop_idx);
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return StopOutput { text, stop_idx: self.stopped };
        }
        let held = self.held.split_off(self.n_certain_bytes());
        StopOutput { text: std::mem::replace(&mut self.held, held), stop_idx: None }
    }

    /// Returns the text held back, because no more will come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop string that was found, if one was.
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }

    /// Returns where the first stop string begins and which it is.
    fn first_match(&self) -> Option<(usize, usize)> {
        let found = self.stops.iter().enumerate().filter_map(|(stop_idx, stop)| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, stop_idx))
        });
        found.min().map(|(_, start, stop_idx)| (start, stop_idx))
    }

    /// Returns the length of the held text before its longest suffix that begins a stop string.
    fn n_certain_bytes(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let begins_stop = |offset: usize| {
            let suffix = self.held.get(offset..).unwrap_or_default();
            self.stops.iter().any(|stop| stop.starts_with(suffix))
        };
        // A suffix as long as the longest stop string would be that string, and it was not found.
        let first = self.held.len().saturating_sub(longest.saturating_sub(1));
        let offsets = (first..self.held.len()).filter(|offset| self.held.is_char_boundary(*offset));
        offsets.into_iter().find(|offset| begins_stop(*offset)).unwrap_or(self.held.len())
    }
}
