//! One conversation with the model.
//!
//! A session's truth is its token list. The cache holds the rows of a prefix of that list and can be rebuilt from it at any time;
//! [`Session::generate`] keeps the longest prefix that the new prompt shares with it and computes the rest.

mod experts;
mod generation;
mod output;

pub use generation::Generation;
pub(crate) use output::Output;

use crate::runtime::{Attention, Cached, Computed, Feed, Wanted};
use crate::sampler::{Sampler, SamplingParams};
use crate::trace::{Matrix, descending, padded};
use crate::{Engine, EngineError};
use experts::Experts;
use std::collections::BTreeMap;

/// One conversation: a list of tokens and the cache of its prefix.
///
/// Sessions of one engine are independent: they can be stepped in any order and do not see one another.
///
/// ```no_run
/// use sferic_engine::{Engine, EngineOptions, Event, SamplingParams};
///
/// # async fn example() -> Result<(), sferic_engine::EngineError> {
/// let engine = Engine::open("path/to/model", EngineOptions::default()).await?;
/// let mut session = engine.session();
/// let params = SamplingParams { max_tokens: Some(100), ..engine.default_sampling() };
/// let mut generation = session.generate_text("The pulse of a lightning stroke", params)?;
/// while let Some(event) = generation.next().await {
///     match event? {
///         Event::Text(text) => print!("{text}"),
///         Event::Stop(stop) => eprintln!("{}: {:?} tokens/s", stop.reason.name(), stop.stats.decode_tokens_per_sec()),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Session {
    engine: Engine,
    /// What is computed of `tokens[..cached.len()]`.
    cached: Cached,
    tokens: Vec<u32>,
    /// Experts of what is cached, where they are recorded.
    experts: Option<Experts>,
}

impl Session {
    pub(crate) fn new(engine: Engine) -> Self {
        let cached = engine.runtime().start(engine.plan().context);
        Self { engine, cached, tokens: Vec::new(), experts: None }
    }

    /// Returns the engine that the session runs on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the tokens of the conversation: the last prompt and what was drawn after it.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns how many tokens, from the first one, are in the cache.
    pub fn n_cached(&self) -> usize {
        self.cached.len()
    }

    /// Forgets the conversation.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.cached.truncate(0);
        self.settle();
    }

    /// Records from here on which experts each token goes to, as training needs it ([`experts`](Self::experts)). What is cached is forgotten and
    /// nothing is taken over from other sessions, since nobody knows those tokens' experts; replies stay the same.
    ///
    /// A recorded step reads its experts besides its token. Where nothing is recorded, nothing is read.
    pub fn record_experts(&mut self) {
        self.forget_cache();
        self.experts = Some(Experts::default());
    }

    /// Returns the routed experts of each mixture layer, `[T, A]` ascending, where they are recorded: `T` is [`n_cached`](Self::n_cached), all
    /// tokens but the last one once a reply has ended.
    pub fn experts(&self) -> Option<&BTreeMap<usize, Matrix<i32>>> {
        self.experts.as_ref().map(Experts::layers)
    }

    /// Forgets what is cached without its experts, as a dropped future leaves it, and experts of what is not cached.
    fn settle(&mut self) {
        if let Some(experts) = &mut self.experts {
            if self.cached.len() > experts.n_tokens() {
                self.cached.truncate(experts.n_tokens());
            }
            experts.truncate(self.cached.len());
        }
    }

    /// Starts a reply to `prompt_ids`, which is the whole conversation so far. Nothing is computed before the first
    /// [`next`](Generation::next).
    ///
    /// The prefix that `prompt_ids` shares with the cached tokens is not computed again; its last token always is, because the
    /// first draw needs its logits.
    ///
    /// # Errors
    /// The session is unchanged by all of them.
    /// - [`EngineError::EmptyPrompt`] for a prompt of no tokens.
    /// - [`EngineError::TokenBeyondVocabulary`] for a token that the model does not know.
    /// - [`EngineError::PromptTooLong`] for a prompt longer than the context.
    /// - [`EngineError::InvalidSampling`] for a parameter out of range.
    /// - [`EngineError::NoTokenizer`] for stop strings without a tokenizer.
    pub fn generate(&mut self, prompt_ids: &[u32], params: SamplingParams) -> Result<Generation<'_>, EngineError> {
        let config = self.engine.config();
        check_prompt(prompt_ids, config.vocab_size, self.engine.plan().context, config.max_position_embeddings)?;
        let seed = params.seed.unwrap_or_else(crate::clock::seed);
        let sampler = Sampler::new(params.clone(), config.vocab_size, prompt_ids, seed)?.without(self.engine.unused_tokens());
        let output = output::Output::new(&self.engine, &params)?;
        self.settle();
        self.cached.resume(prompt_ids, self.experts.is_some());
        self.settle();
        let n_reused = self.cached.len();
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt_ids);
        Ok(Generation::new(self, sampler, output, params, n_reused))
    }

    /// Starts a reply to `prompt`, which is the whole conversation so far; special tokens in it are read as such.
    ///
    /// # Errors
    /// Those of [`generate`](Self::generate), and [`EngineError::NoTokenizer`] or [`EngineError::Text`] when the text cannot be turned
    /// into tokens.
    pub fn generate_text(&mut self, prompt: &str, params: SamplingParams) -> Result<Generation<'_>, EngineError> {
        let prompt_ids = self.engine.encode(prompt)?;
        self.generate(&prompt_ids, params)
    }

    /// Computes `prompt_ids`, which is the whole conversation, and returns the logits of what comes next, `[V]`. Nothing is drawn.
    ///
    /// # Errors
    /// The first three of [`generate`](Self::generate), which leave the session unchanged, and [`EngineError::Device`] when the device fails.
    pub async fn logits(&mut self, prompt_ids: &[u32]) -> Result<Vec<f32>, EngineError> {
        let config = self.engine.config();
        check_prompt(prompt_ids, config.vocab_size, self.engine.plan().context, config.max_position_embeddings)?;
        self.settle();
        self.cached.resume(prompt_ids, self.experts.is_some());
        self.settle();
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt_ids);
        loop {
            let chunk = self.engine.runtime().chunk(self.engine.plan().prefill_chunk);
            let end = prompt_ids.len().min(self.cached.len() + chunk);
            let wanted = if end == prompt_ids.len() { Wanted::Last } else { Wanted::Nothing };
            match self.compute(end, Feed::Prefill, wanted).await {
                Ok(computed) if wanted == Wanted::Last => return Ok(computed.logits),
                Ok(_) => {}
                Err(error) => {
                    self.forget_cache();
                    return Err(error);
                }
            }
        }
    }

    /// Returns what each layer selected for the tokens of the conversation from position `first` on. The token at position `p` was drawn from
    /// what the token before it selected. Layers without an indexer and models without one have no entry.
    ///
    /// These tokens are computed again behind those that are cached; the conversation stays as it is.
    ///
    /// # Errors
    /// [`EngineError::Device`] when the device fails.
    pub async fn selections(&mut self, first: usize) -> Result<BTreeMap<usize, Selected>, EngineError> {
        self.settle();
        self.cached.truncate(first.min(self.cached.len()));
        let n_tokens = self.tokens.len();
        let chunk = self.engine.plan().prefill_chunk.min(self.engine.runtime().longest_step());
        let row_bytes = size_of::<f32>() * n_tokens.max(1) * self.engine.config().num_hidden_layers.max(1);
        let shown = chunk.min((MOST_SCORE_BYTES / row_bytes).max(1));
        let mut rows: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        while self.cached.len() < n_tokens {
            self.settle();
            let begin = self.cached.len();
            let (wanted, end) = match begin < first {
                true => (Wanted::Nothing, first.min(begin + chunk)),
                false => (Wanted::Selections, begin + shown),
            };
            let mut computed = match self.compute(end.min(n_tokens), Feed::Prefill, wanted).await {
                Ok(computed) => computed,
                Err(error) => {
                    self.forget_cache();
                    return Err(error);
                }
            };
            for (layer_idx, selected) in computed.selected {
                let mut scores = computed.scores.remove(&layer_idx).unwrap_or_default().into_iter();
                let row = |positions: Vec<i32>| row_of(&positions, scores.next());
                rows.entry(layer_idx).or_default().extend(selected.into_iter().map(row));
            }
        }
        Ok(rows.into_iter().map(|(layer_idx, rows)| (layer_idx, Selected::new(rows))).collect())
    }

    /// Computes the tokens that are not cached up to `end`, and returns what is wanted of them.
    async fn compute(&mut self, end: usize, feed: Feed, wanted: Wanted) -> Result<Computed, EngineError> {
        self.settle();
        let Session { engine, cached, tokens, experts } = self;
        let ids = &tokens[cached.len()..end];
        let wanted = (wanted, experts.is_some());
        let mut computed = engine.runtime().compute(cached, ids, feed, wanted, &Attention::Selected).await?;
        if let Some(experts) = experts {
            experts.extend(cached.len(), std::mem::take(&mut computed.experts));
        }
        Ok(computed)
    }

    /// Drops the cache after a failure of the device: its rows may be lost or half written. The tokens stay.
    fn forget_cache(&mut self) {
        self.cached = self.engine.runtime().start(self.engine.plan().context);
        self.settle();
    }
}

/// Bytes of index scores that a step of [`Session::selections`] reads at most.
const MOST_SCORE_BYTES: usize = 64 << 20;

/// What one layer selected for some tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selected {
    /// Positions, `[T, K]`: descending, −1 in the unfilled slots at the end of a row.
    pub positions: Matrix<i32>,
    /// Their index scores, `[T, K]`, 0 in unfilled slots; `None` where a token has none: the kernels compute no scores while everything is
    /// selected.
    pub scores: Option<Matrix<f32>>,
}

/// Positions of one token, descending, and their scores.
type Row = (Vec<i32>, Option<Vec<f32>>);

fn row_of(positions: &[i32], scores: Option<Vec<f32>>) -> Row {
    let Some(scores) = scores else { return (descending(positions), None) };
    let mut pairs: Vec<(i32, f32)> = positions.iter().copied().zip(scores).filter(|(position, _)| *position >= 0).collect();
    pairs.sort_unstable_by_key(|(position, _)| std::cmp::Reverse(*position));
    let (positions, scores) = pairs.into_iter().unzip();
    (positions, Some(scores))
}

impl Selected {
    fn new(rows: Vec<Row>) -> Self {
        let (positions, scores): (Vec<Vec<i32>>, Vec<Option<Vec<f32>>>) = rows.into_iter().unzip();
        let scores: Option<Vec<Vec<f32>>> = scores.into_iter().collect();
        Self { positions: padded(&positions, -1), scores: scores.map(|scores| padded(&scores, 0.0)) }
    }
}

pub(crate) fn check_prompt(
    prompt_ids: &[u32],
    vocab_size: usize,
    context: usize,
    model_context: usize,
) -> Result<(), EngineError> {
    if prompt_ids.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    if let Some(position) = prompt_ids.iter().position(|&token_id| token_id as usize >= vocab_size) {
        return Err(EngineError::TokenBeyondVocabulary { token_id: prompt_ids[position], position, vocab_size });
    }
    if prompt_ids.len() > context {
        return Err(EngineError::PromptTooLong { n_tokens: prompt_ids.len(), context, model_context });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
