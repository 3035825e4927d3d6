//! A reply whose tokens are drawn on the device, each with the next step under way before the host has seen it.

use crate::model::{Experts, Logits, Model, ModelError, Recorded, Request, Turn};
use crate::sequence::Sequence;
use sferic_gpu::{Buffer, GpuError, Graph, ReadBack, Task};
use sferic_shaders::sample::next_token::{BAD_LOGITS, NOTHING_TO_DRAW, NextToken, STATE_HEADER, Settings, Shape};

/// What a reply is drawn with.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Temperature, filters and penalties.
    pub settings: Settings,
    /// Seed of the draws.
    pub seed: u64,
    /// Number of the first draw.
    pub n_draws: u64,
    /// For every token how often it is in the reply, with [`IN_PROMPT`](crate::IN_PROMPT) for those of the prompt; and what is added to its logit.
    /// `None` without penalties and bias.
    pub adjustments: Option<(Vec<u32>, Vec<f32>)>,
    /// Attends to every token instead of the selected ones.
    pub dense: bool,
    /// Whether the experts of what is computed are read.
    pub experts: bool,
}

/// A token that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// It.
    pub token: u32,
    /// Natural logarithm of the model's probability of it, before penalties, bias and temperature.
    pub logprob: f32,
    /// Whether a logit was NaN or +∞, or nothing could be drawn: the token means nothing then.
    pub has_bad_logits: bool,
    /// Experts of the tokens that were computed for it, where they are read.
    pub experts: Experts,
}

/// Draws the tokens of one reply, one read of a few words for each.
///
/// The step after a token is submitted before the token is read, so that the device does not wait for the host. That step is wasted where the
/// reply ends, or where another sequence has a step in between, which is the host's turn to write what its step reads.
pub struct Draws {
    model: Model,
    drawing: Drawing,
    choice: Graph,
    state: Buffer,
    counts: Option<Buffer>,
    ahead: Option<Ahead>,
    /// Whether a call was begun and not ended, so that nobody knows how far the device has come.
    is_unsure: bool,
}

/// A step that is under way: the one after `token`, which is not computed as far as its sequence knows.
struct Ahead {
    token: u32,
    step: Begun,
}

/// A step that was submitted, and the draw after it.
struct Begun {
    turn: u64,
    state: ReadBack,
    /// Experts of its last `rows` tokens.
    experts: Option<ReadBack>,
    rows: usize,
    /// Experts of the tokens before those.
    before: Experts,
}

impl Draws {
    /// Prepares the draws of a reply.
    ///
    /// # Errors
    /// [`ModelError`] for settings out of range, or a failing device.
    pub async fn new(model: &Model, drawing: Drawing) -> Result<Self, ModelError> {
        let device = model.device();
        let w = model.workspace();
        let v = model.architecture().vocab as u32;
        let shape = Shape { t: 1, v, stride: v.next_multiple_of(4), offset: 0, history: 0 };
        let spec = NextToken::best(&device.capabilities, drawing.adjustments.is_some());
        let [chunks, choice] = spec.launch(shape, drawing.settings, &device.capabilities)?;
        let partials = device.allocate("partial choices", 4 * u64::from(shape.partial_words()))?;
        let state = device.allocate("state of the draws", 4 * u64::from(STATE_HEADER))?;
        let words = 4 * u64::from(shape.vocabulary_words());
        let (mut counts, mut more) = (None, Vec::new());
        if let Some((_, bias)) = &drawing.adjustments {
            let buffer = device.allocate("counts of tokens", words)?;
            let biases = device.allocate("bias of tokens", words)?;
            device.write(&biases, 0, bytemuck::cast_slice(bias));
            more.extend([buffer.clone(), biases]);
            counts = Some(buffer);
        }
        let with_more = |buffers: [&Buffer; 2]| buffers.into_iter().chain(&more).cloned().collect::<Vec<_>>();
        let with_state = [&w.logits, &partials, &state, &w.tokens, &w.positions].into_iter().chain(&more).cloned();
        let tasks = [
            Task { launch: chunks, buffers: with_more([&w.logits, &partials]) },
            Task { launch: choice, buffers: with_state.collect() },
        ];
        let choice = Graph::new(device, &tasks).await?;
        Ok(Self { model: model.clone(), drawing, choice, state, counts, ahead: None, is_unsure: true })
    }

    /// Computes those of `tokens` that `sequence` has not cached, the prompt and what was drawn so far, and draws the next one. With `go_on` the
    /// step after that is begun. `tokens` begins with what is cached, its last token perhaps excepted; of no tokens nothing is drawn.
    ///
    /// It may be dropped at any point; the next call then computes the last token again.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn next(&mut self, sequence: &mut Sequence, tokens: &[u32], go_on: bool) -> Result<Draw, ModelError> {
        let Some(&last) = tokens.last() else { return Ok(Draw::NOTHING) };
        let expected = |ahead: &Ahead| ahead.token == last && sequence.len() + 1 == tokens.len();
        let is_expected = self.ahead.as_ref().map_or(sequence.len() < tokens.len(), expected);
        if std::mem::replace(&mut self.is_unsure, true) || !is_expected {
            self.restart(sequence, tokens);
        }
        let begun = match self.ahead.take() {
            Some(ahead) => {
                sequence.computed([last]);
                ahead.step
            }
            None => self.begin(sequence, tokens).await?,
        };
        // A step that has to be compiled first would hold back the token that is there.
        let is_ready = go_on && self.model.is_recorded(self.model.key(sequence.len(), 1, self.request()));
        let next = if is_ready { self.run_ahead(sequence, begun.turn).await? } else { None };
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&begun.state.bytes(self.model.device()).await?);
        let mut experts = begun.before;
        append(&mut experts, self.model.experts(begun.experts, begun.rows).await?);
        let [.., status, logprob, token] = words[..] else { return Ok(Draw::NOTHING) };
        self.drawing.n_draws += u64::from(self.drawing.settings.temperature > 0.0);
        if let Some(count) = self.drawing.adjustments.as_mut().and_then(|(counts, _)| counts.get_mut(token as usize)) {
            *count += 1;
        }
        self.ahead = next.map(|step| Ahead { token, step });
        self.is_unsure = false;
        let has_bad_logits = status & (BAD_LOGITS | NOTHING_TO_DRAW) != 0;
        Ok(Draw { token, logprob: f32::from_bits(logprob), has_bad_logits, experts })
    }

    fn request(&self) -> Request {
        Request { logits: Logits::Last, probe: false, scores: false, experts: self.drawing.experts, dense: self.drawing.dense }
    }

    /// Brings the device's state to what the host knows. The last token is computed again, for its logits.
    fn restart(&mut self, sequence: &mut Sequence, tokens: &[u32]) {
        self.ahead = None;
        sequence.truncate(tokens.len().saturating_sub(1));
        let Drawing { seed, n_draws, adjustments, .. } = &self.drawing;
        let words = [*seed, seed >> 32, *n_draws, n_draws >> 32, 0, 0, 0, 0].map(|word| word as u32);
        let device = self.model.device();
        device.write(&self.state, 0, bytemuck::cast_slice(&words));
        if let (Some(buffer), Some((counts, _))) = (&self.counts, adjustments) {
            device.write(buffer, 0, bytemuck::cast_slice(counts));
        }
    }

    /// Submits the tokens that are not cached and the draw after them.
    async fn begin(&mut self, sequence: &mut Sequence, tokens: &[u32]) -> Result<Begun, ModelError> {
        if self.drawing.dense {
            sequence.keep_to_itself();
        }
        let (chunk, request) = (sequence.longest_step(), self.request());
        let mut before = Experts::new();
        while tokens.len() - sequence.len() > chunk {
            let start = sequence.len();
            let request = Request { logits: Logits::None, ..request };
            append(&mut before, sequence.advance(&tokens[start..start + chunk], request).await?.experts);
        }
        let ids = &tokens[sequence.len()..];
        let (_, step) = sequence.prepare(ids.len(), request).await?;
        let turn = self.model.write_step(ids, sequence.len(), sequence.table());
        let begun = self.submit(&step, &turn, ids.len(), before)?;
        drop(turn);
        sequence.computed(ids.iter().copied());
        Ok(begun)
    }

    /// Submits a step of `rows` tokens and the draw after it.
    fn submit(&self, step: &Recorded, turn: &Turn<'_>, rows: usize, before: Experts) -> Result<Begun, ModelError> {
        let experts = self.model.experts_of_step(rows).filter(|_| self.drawing.experts);
        let parts: Vec<Buffer> = [self.state.clone()].into_iter().chain(experts).collect();
        let mut read = self.model.device().submit(&[step.graph(), &self.choice], &parts).into_iter();
        let state = read.next().ok_or_else(|| GpuError::Device("a draw was submitted without a reading".into()))?;
        Ok(Begun { turn: turn.number(), state, experts: read.next(), rows, before })
    }

    /// Submits the step of the token that is being drawn and the draw after it, where nothing came between and there is room.
    async fn run_ahead(&mut self, sequence: &mut Sequence, after: u64) -> Result<Option<Begun>, ModelError> {
        if sequence.len() >= self.model.settings().context {
            return Ok(None);
        }
        let step = match sequence.prepare(1, self.request()).await {
            Ok((_, step)) => step,
            // The token that is being drawn may well be the last one.
            Err(ModelError::Full(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(turn) = self.model.continue_step(sequence.len(), after, sequence.table()) else { return Ok(None) };
        self.submit(&step, &turn, 1, Experts::new()).map(Some)
    }
}

impl Draw {
    const NOTHING: Self = Self { token: 0, logprob: f32::NAN, has_bad_logits: true, experts: Experts::new() };
}

/// Adds the experts of more tokens.
pub(crate) fn append(experts: &mut Experts, more: Experts) {
    for (layer_idx, rows) in more {
        experts.entry(layer_idx).or_default().extend(rows);
    }
}

impl std::fmt::Debug for Draws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draws")
            .field("settings", &self.drawing.settings)
            .field("n_draws", &self.drawing.n_draws)
            .finish_non_exhaustive()
    }
}
