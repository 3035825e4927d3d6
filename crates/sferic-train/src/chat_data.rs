//! Rows of conversations for a stage whose loss counts the assistant's tokens alone.
//!
//! Short conversations are packed into rows of one length, and attention stays within each: none is longer than the selection,
//! so that dense attention is what sparse attention would be. Longer ones have a row each, as long as the next power of two;
//! rows of one length form batches of about equally many tokens.

mod cache;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::cache::TalkCache;
use crate::TrainError;
use crate::batch::Batch;
use crate::chat::Chat;
use crate::chat_format::ChatFormat;
use crate::config::DataConfig;
use crate::corpus::{SourceConfig, chat, load};
use crate::encoder::Encoder;
use crate::filter::Seen;
use crate::hash::{fnv1a, mix, permute};
use crate::parallel::in_parallel;

/// Rows of short conversations that are filled at the same time: the more, the less room is left in them.
const OPEN_ROWS: usize = 32;

/// The conversations of a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// Where [`write_chats`] puts its files.
    pub folder: PathBuf,
    /// Tokens of a row of short conversations, a power of two.
    #[serde(default = "default_packed_len")]
    pub packed_len: usize,
    /// Where conversations come from; the weight of a source is its share of the tokens.
    pub sources: Vec<SourceConfig>,
}

fn default_packed_len() -> usize {
    1024
}

impl ChatConfig {
    /// Returns the names of the sources.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.sources.iter().map(|source| source.name.as_str()).collect()
    }

    /// Checks the values; `key` is the table's path in the file.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the key.
    pub fn check(&self, key: &str) -> Result<(), TrainError> {
        if !self.packed_len.is_power_of_two() {
            let found = self.packed_len.to_string();
            return Err(TrainError::config(&format!("{key}.packed_len"), "a power of two", found));
        }
        if !self.sources.iter().any(|source| source.weight > 0.0) {
            return Err(TrainError::config(&format!("{key}.sources"), "a source with a weight above 0", "none"));
        }
        for (source_idx, source) in self.sources.iter().enumerate() {
            let key = format!("{key}.sources.{}", source.name);
            if self.sources[..source_idx].iter().any(|other| other.name == source.name) {
                return Err(TrainError::config(&format!("{key}.name"), "a name that no other source has", &*source.name));
            }
            source.check(&key)?;
        }
        Ok(())
    }

    /// The sources that conversations are drawn from.
    fn drawn(&self) -> impl Iterator<Item = &SourceConfig> {
        self.sources.iter().filter(|source| source.weight > 0.0)
    }
}

/// What the model and the stage allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatLimits {
    /// Longest conversation that is packed: at most the tokens that the indexer selects.
    pub max_packed: usize,
    /// Longest row; longer conversations are left out.
    pub max_len: usize,
    /// Tokens of a batch, at least `max_len`.
    pub tokens_per_batch: usize,
}

/// What became of a source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatSource {
    /// The source's name in the configuration.
    pub name: String,
    /// Conversations that fit.
    pub n_chats: usize,
    /// Conversations that are too long, or have nothing to learn.
    pub n_left_out: usize,
    /// Tokens of those that fit.
    pub n_tokens: usize,
    /// The tokens among them that the model learns to write.
    pub n_learned: usize,
    /// Its share of the tokens that are trained on.
    pub share: f64,
    /// How often the source is gone through.
    pub passes: f64,
}

/// One conversation as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    ids: Vec<u32>,
    /// Places whose next token is the model's, ascending.
    learned: Vec<u32>,
}

impl Talk {
    /// Encodes a conversation.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`], and [`TrainError::Corpus`] with the given name when it cannot be rendered or learned.
    pub fn new(chat: &Chat, encoder: &Encoder, name: &str) -> Result<Self, TrainError> {
        let segments = encoder.chat_format().segments(chat).map_err(|error| match error {
            TrainError::Text(error) => TrainError::Corpus {
                name: name.to_owned(),
                expected: "a conversation in the model's format",
                found: format!("{error} in a conversation of {} messages", chat.messages.len()),
                path: PathBuf::new(),
            },
            other => other,
        })?;
        let encoded = encoder.encode_each(segments.iter().map(|segment| &segment.part))?;
        let (mut ids, mut learned) = (Vec::new(), Vec::new());
        for (segment, encoded) in segments.iter().zip(encoded) {
            if segment.is_models {
                // The first token of a conversation follows from nothing.
                let own = ids.len().max(1)..ids.len() + encoded.len();
                learned.extend(own.map(|token_idx| token_idx as u32 - 1));
            }
            ids.extend(encoded);
        }
        Ok(Self { ids, learned })
    }

    /// The number of inputs: all tokens but the last, which is a target only.
    fn len(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }
}

/// All batches of a stage, in order.
#[derive(Debug, Clone)]
pub struct ChatData {
    talks: Vec<Talk>,
    plan: Vec<Plan>,
    sources: Vec<ChatSource>,
    tokens_per_batch: usize,
    /// Fills rows up.
    pad: u32,
}

/// The conversations of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    shape: Shape,
    /// Indices of the conversations of each row.
    rows: Vec<Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    is_packed: bool,
    seq_len: usize,
}

impl ChatData {
    /// Reads or makes the conversations of all sources, but for held-out documents, and plans `n_batches` batches.
    ///
    /// Their tokens are kept in the folder of conversations, and read from there as long as nothing that they follow from has changed.
    ///
    /// # Errors
    /// Those of [`load`], [`chat`] and [`Talk::new`]; [`TrainError::Io`] and [`TrainError::Weights`] when tokens cannot be kept; [`TrainError::ConfigValue`] when limits contradict each other or a source
    /// has no conversation that fits.
    pub fn open(
        config: &ChatConfig,
        data: &DataConfig,
        limits: ChatLimits,
        n_batches: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let encoder = Encoder::open(&data.tokenizer)?;
        let talks = TalkCache::of(config, data)?.read_or(|| talks_of(config, data, &encoder))?;
        let named = config.drawn().zip(talks).map(|(source, talks)| (source.name.clone(), source.weight, talks));
        let made = Self::new(named.collect(), config.packed_len, limits, n_batches, seed)?;
        Ok(Self { pad: encoder.controls().pad(), ..made })
    }

    /// Plans batches of the given sources: name, weight, conversations. Rows are filled up with token 0.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] as in [`open`](Self::open).
    pub fn new(
        sources: Vec<(String, f64, Vec<Talk>)>,
        packed_len: usize,
        limits: ChatLimits,
        n_batches: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let ChatLimits { max_packed, max_len, tokens_per_batch } = limits;
        if tokens_per_batch < max_len.max(packed_len) {
            let expected = format!("at least the longest row, {}", max_len.max(packed_len));
            return Err(TrainError::config("sft: tokens of a batch", expected, tokens_per_batch.to_string()));
        }
        let total: f64 = sources.iter().map(|(_, weight, _)| weight).sum();
        let (mut talks, mut reports, mut draws) = (Vec::new(), Vec::new(), Vec::new());
        for (source_idx, (name, weight, all)) in sources.into_iter().enumerate() {
            let n_all = all.len();
            let first = talks.len();
            talks.extend(all.into_iter().filter(|talk| talk.len() <= max_len && !talk.learned.is_empty()));
            let fitting = &talks[first..];
            let n_tokens: usize = fitting.iter().map(Talk::len).sum();
            if n_tokens == 0 {
                let expected = format!("at least one conversation of at most {max_len} tokens");
                return Err(TrainError::config(&format!("chats.sources.{name}"), expected, format!("{n_all} others")));
            }
            let share = weight / total;
            let budget = share * (n_batches * tokens_per_batch) as f64;
            draw(fitting, first, budget, mix(seed ^ mix(source_idx as u64)), &mut draws);
            reports.push(ChatSource {
                name,
                n_chats: fitting.len(),
                n_left_out: n_all - fitting.len(),
                n_tokens,
                n_learned: fitting.iter().map(|talk| talk.learned.len()).sum(),
                share,
                passes: budget / n_tokens as f64,
            });
        }
        // Every source is spread evenly over the stage.
        draws.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut planner = Planner {
            packed_len,
            max_packed: max_packed.min(packed_len),
            max_len,
            tokens_per_batch,
            open: Vec::new(),
            waiting: BTreeMap::new(),
            plan: Vec::new(),
        };
        for (_, talk_idx) in draws {
            planner.add(talk_idx, talks[talk_idx as usize].len());
        }
        let mut plan = planner.finish();
        plan.truncate(n_batches);
        Ok(Self { talks, plan, sources: reports, tokens_per_batch, pad: 0 })
    }

    /// Returns the number of batches.
    pub fn n_batches(&self) -> usize {
        self.plan.len()
    }

    /// Returns what became of the sources.
    pub fn sources(&self) -> &[ChatSource] {
        &self.sources
    }

    /// Returns a batch; `batch_idx` must be below [`n_batches`](Self::n_batches).
    ///
    /// Rows of short conversations have documents, and their attention is dense; other rows are one conversation each.
    pub fn batch(&self, batch_idx: usize) -> Batch {
        let Plan { shape: Shape { is_packed, seq_len }, rows } = &self.plan[batch_idx];
        let n_rows = self.tokens_per_batch / seq_len;
        let n_places = n_rows * seq_len;
        let mut token_ids = Vec::with_capacity(n_places);
        let (mut targets, mut places, mut documents) = (Vec::new(), Vec::new(), Vec::with_capacity(n_places));
        let mut lengths = Vec::with_capacity(n_rows);
        for row_idx in 0..n_rows {
            let mut used = 0;
            for &talk_idx in rows.get(row_idx).into_iter().flatten() {
                let talk = &self.talks[talk_idx as usize];
                let first = token_ids.len();
                token_ids.extend(talk.ids[..talk.len()].iter().map(|&id| id as i32));
                places.extend(talk.learned.iter().map(|&place| (first + place as usize) as i32));
                targets.extend(talk.learned.iter().map(|&place| talk.ids[place as usize + 1] as i32));
                documents.extend(std::iter::repeat_n(used as i32, talk.len()));
                used += talk.len();
            }
            token_ids.resize((row_idx + 1) * seq_len, self.pad as i32);
            documents.resize((row_idx + 1) * seq_len, used as i32);
            lengths.push(used);
        }
        Batch {
            shape: [n_rows, *seq_len],
            token_ids,
            targets,
            places: Some(places),
            documents: is_packed.then_some(documents),
            lengths: Some(lengths),
        }
    }
}

/// Appends conversations of one source, in an order of their own in each pass, until they have `budget` tokens: the share of the
/// budget that came before, and the conversation's index.
fn draw(talks: &[Talk], first: usize, budget: f64, key: u64, draws: &mut Vec<(f64, u32)>) {
    let mut n_tokens = 0.0;
    for draw_idx in 0.. {
        if n_tokens >= budget {
            return;
        }
        let (pass, place) = (draw_idx / talks.len(), draw_idx % talks.len());
        let talk_idx = permute(place as u64, talks.len() as u64, mix(key ^ pass as u64)) as usize;
        draws.push((n_tokens / budget, (first + talk_idx) as u32));
        n_tokens += talks[talk_idx].len() as f64;
    }
}

/// Puts conversations into rows and rows into batches, in the order in which they fill.
struct Planner {
    packed_len: usize,
    max_packed: usize,
    max_len: usize,
    tokens_per_batch: usize,
    /// Rows of short conversations that have room left, with the tokens in them.
    open: Vec<(usize, Vec<u32>)>,
    /// Rows that wait for others of their shape.
    waiting: BTreeMap<Shape, Vec<Vec<u32>>>,
    plan: Vec<Plan>,
}

impl Planner {
    fn add(&mut self, talk_idx: u32, n_tokens: usize) {
        if n_tokens > self.max_packed {
            let seq_len = n_tokens.next_power_of_two().max(self.packed_len).min(self.max_len);
            return self.add_row(Shape { is_packed: false, seq_len }, vec![talk_idx]);
        }
        if let Some((used, row)) = self.open.iter_mut().find(|(used, _)| used + n_tokens <= self.packed_len) {
            *used += n_tokens;
            row.push(talk_idx);
            return;
        }
        if self.open.len() == OPEN_ROWS
            && let Some(fullest) = (0..OPEN_ROWS).max_by_key(|&row_idx| self.open[row_idx].0)
        {
            let (_, row) = self.open.remove(fullest);
            self.add_packed(row);
        }
        self.open.push((n_tokens, vec![talk_idx]));
    }

    fn add_packed(&mut self, row: Vec<u32>) {
        self.add_row(Shape { is_packed: true, seq_len: self.packed_len }, row);
    }

    fn add_row(&mut self, shape: Shape, row: Vec<u32>) {
        let rows = self.waiting.entry(shape).or_default();
        rows.push(row);
        if rows.len() == self.tokens_per_batch / shape.seq_len {
            self.plan.push(Plan { shape, rows: std::mem::take(rows) });
        }
    }

    /// Returns all batches; the last ones may have rows of nothing but padding.
    fn finish(mut self) -> Vec<Plan> {
        for (_, row) in std::mem::take(&mut self.open) {
            self.add_packed(row);
        }
        let rest = std::mem::take(&mut self.waiting).into_iter().filter(|(_, rows)| !rows.is_empty());
        self.plan.extend(rest.map(|(shape, rows)| Plan { shape, rows }));
        self.plan
    }
}

/// Returns the conversations of each source as tokens.
fn talks_of(config: &ChatConfig, data: &DataConfig, encoder: &Encoder) -> Result<Vec<Vec<Talk>>, TrainError> {
    let mut seen = Seen::default();
    let encode = |source: &SourceConfig| {
        let chats = chats_of(source, data, encoder.chat_format(), &mut seen)?;
        in_parallel(&chats, |chat| Talk::new(chat, encoder, &source.name))
    };
    config.drawn().map(encode).collect()
}

/// Returns the conversations of a source, without those of held-out documents.
fn chats_of(source: &SourceConfig, data: &DataConfig, format: &ChatFormat, seen: &mut Seen) -> Result<Vec<Chat>, TrainError> {
    let (documents, _) = load(source, &data.root, format, seen)?;
    let is_taught = |document: &&String| !fnv1a(document.as_bytes()).is_multiple_of(data.heldout_every);
    documents.iter().filter(is_taught).filter_map(|document| chat(document, source).transpose()).collect()
}

/// Writes the conversations of each source to `NAME.jsonl` in the configured folder and returns names and numbers of them.
///
/// # Errors
/// Those of [`load`], [`chat`] and, where the tokenizer is there, [`Encoder::open`]; [`TrainError::Io`].
pub fn write_chats(config: &ChatConfig, data: &DataConfig) -> Result<Vec<(String, usize)>, TrainError> {
    std::fs::create_dir_all(&config.folder).map_err(TrainError::io("create the folder of conversations", &config.folder))?;
    let encoder = if data.tokenizer.exists() { Some(Encoder::open(&data.tokenizer)?) } else { None };
    let format = encoder.as_ref().map_or_else(ChatFormat::own, |encoder| encoder.chat_format().clone());
    let mut seen = Seen::default();
    let mut written = Vec::new();
    for source in &config.sources {
        let chats = chats_of(source, data, &format, &mut seen)?;
        let path = config.folder.join(format!("{}.jsonl", source.name));
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(std::fs::File::create(&path)?);
            for chat in &chats {
                serde_json::to_writer(&mut file, chat)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(TrainError::io("write the conversations", &path))?;
        written.push((source.name.clone(), chats.len()));
    }
    Ok(written)
}

#[cfg(test)]
#[path = "chat_data_tests.rs"]
mod tests;
