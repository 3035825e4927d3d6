//! From drawn tokens to text that can be shown.

use crate::sampler::SamplingParams;
use crate::{Engine, EngineError};
use sferic_text::{DetokenizeStream, StopMatcher, Tokenizer};

/// The text side of one reply. Without a tokenizer there is none.
pub(crate) struct Output {
    text: Option<(Tokenizer, DetokenizeStream)>,
    stops: Vec<String>,
    matcher: StopMatcher,
}

impl Output {
    pub(crate) fn new(engine: &Engine, params: &SamplingParams) -> Result<Self, EngineError> {
        let text = match engine.tokenizer() {
            Ok(tokenizer) => Some((tokenizer.clone(), DetokenizeStream::new(tokenizer, true))),
            Err(_) if params.stop.is_empty() => None,
            Err(error) => return Err(error),
        };
        Ok(Self { text, stops: params.stop.clone(), matcher: StopMatcher::new(params.stop.iter().cloned())? })
    }

    /// Shows special tokens as well; they are left out otherwise.
    pub(crate) fn show_special_tokens(&mut self) {
        if let Some((tokenizer, stream)) = &mut self.text {
            *stream = DetokenizeStream::new(tokenizer, false);
        }
    }

    /// The token alone as text; empty where there is none.
    pub(super) fn piece(&self, token_id: u32) -> String {
        let decoded = self.text.as_ref().map(|(tokenizer, _)| tokenizer.decode(&[token_id], false));
        decoded.and_then(Result::ok).unwrap_or_default()
    }

    /// Takes the next token; returns the text that can be shown now and the stop string that it ended with.
    pub(crate) fn push(&mut self, token_id: u32) -> Result<(String, Option<String>), EngineError> {
        let Some((_, stream)) = &mut self.text else { return Ok(Default::default()) };
        let text = stream.push(token_id)?.unwrap_or_default();
        let output = self.matcher.push(&text);
        Ok((output.text, output.stop_idx.and_then(|stop_idx| self.stops.get(stop_idx).cloned())))
    }

    /// Returns the text that was held back, because no more will come.
    pub(crate) fn finish(&mut self) -> String {
        let Some((_, stream)) = &mut self.text else { return String::new() };
        // A decoder that fails on the rest has no text for it.
        let rest = stream.finish().ok().flatten().unwrap_or_default();
        let mut text = self.matcher.push(&rest).text;
        text.push_str(&self.matcher.finish());
        text
    }
}
