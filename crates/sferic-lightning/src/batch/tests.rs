#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod host;
mod prompts;

use super::{Batch, BatchDraw, BatchSettings, Order};
use crate::architecture::{Architecture, LayerKind, Selection};
use crate::model::{Model, ModelError, Settings};
use crate::pages::PAGE;
use crate::{CacheFormats, Device, Drawing, Draws, Formats, IN_PROMPT, ModelWeights, Sampling, WeightFormat};
use pollster::block_on;
use std::collections::BTreeMap;

const VOCAB: usize = 1000;

const FILTERED: Sampling = Sampling { temperature: 1.2, top_k: 300, top_p: 0.95, min_p: 1e-4, ..Sampling::GREEDY };

/// A model of three layers that selects 64 positions, the second of them with the selection of the first.
fn model(is_moe: bool, formats: Formats, caches: CacheFormats, cached_tokens: usize) -> Option<Model> {
    let device = match block_on(Device::open(&Default::default())) {
        Ok(device) => device,
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let mut a = Architecture::v2_lite_with_indexer();
    a.layers = [Selection::Own, Selection::Shared, Selection::Own].map(|selection| LayerKind { selection, is_moe }).to_vec();
    (a.vocab, a.d_model, a.d_feed_forward, a.n_heads, a.q_rank) = (VOCAB, 128, 160, 4, Some(64));
    if let Some(experts) = &mut a.experts {
        (experts.n_routed, experts.width) = (8, 32);
    }
    if let Some(indexer) = &mut a.indexer {
        (indexer.top_k, indexer.n_heads) = (64, 4);
    }
    let weights = ModelWeights::random(&device, &a, formats).unwrap();
    let settings = Settings { caches, hadamard: false, context: 320, chunk: 64, cached_tokens };
    Some(Model::new(device, a, weights, settings).unwrap())
}

fn exact(is_moe: bool, cached_tokens: usize) -> Option<Model> {
    model(is_moe, Formats::F32, CacheFormats::F32, cached_tokens)
}

fn prompt(seed: u32, n_tokens: u32) -> Vec<u32> {
    (0..n_tokens).map(|i| (seed * 7919 + i * i * 31 + i * 17) % VOCAB as u32).collect()
}

/// Replies of every kind: short and long prompts, some of them the same or with the same beginning, across the number of selected positions
/// and up to the end of the context.
fn orders() -> Vec<Order> {
    let order = |prompt: Vec<u32>, most, seed| Order { prompt, most, seed, counts: Vec::new() };
    let longer = [prompt(2, 130), prompt(9, 3)].concat();
    let mut orders = vec![order(prompt(1, 1), 12, 1), order(prompt(3, 60), 9, 2), order(longer, 5, 3)];
    orders.extend((10..14).map(|seed| order(prompt(2, 130), 6, seed)));
    orders.extend([order(prompt(4, 64), 3, 20), order(prompt(5, 65), 1, 21), order(prompt(6, 316), 50, 22)]);
    orders.extend([order(prompt(7, 200), 4, 23), order(prompt(1, 30), 14, 24)]);
    orders
}

fn settings(rows: usize, sampling: Sampling) -> BatchSettings {
    BatchSettings { rows, sampling, bias: None, dense: false, experts: false }
}

/// Tokens with their log-probabilities, by reply.
type Replies = BTreeMap<usize, Vec<(u32, f32)>>;

fn take(replies: &mut Replies, draws: Vec<BatchDraw>) {
    for draw in draws {
        assert!(!draw.has_bad_logits);
        replies.entry(draw.id).or_default().push((draw.token, draw.logprob));
    }
}

fn run(batch: &mut Batch) -> Replies {
    let mut replies = Replies::new();
    while !batch.is_empty() {
        take(&mut replies, block_on(batch.step()).unwrap());
    }
    assert_eq!(block_on(batch.step()).unwrap(), []);
    replies
}

fn push(batch: &mut Batch, orders: &[Order]) {
    for order in orders {
        batch.push(order.clone()).unwrap();
    }
}

/// The reply of a sequence by itself.
fn alone(model: &Model, order: &Order, settings: &BatchSettings) -> Vec<(u32, f32)> {
    let adjustments = settings.bias.clone().map(|bias| (order.counts.clone(), bias));
    let drawing =
        Drawing { settings: settings.sampling, seed: order.seed, n_draws: 0, adjustments, dense: settings.dense, experts: false };
    let (mut draws, mut sequence) = (block_on(Draws::new(model, drawing)).unwrap(), model.sequence());
    let mut tokens = order.prompt.clone();
    let mut reply = Vec::new();
    while reply.len() < order.most && tokens.len() <= model.settings().context {
        let draw = block_on(draws.next(&mut sequence, &tokens, false)).unwrap();
        tokens.push(draw.token);
        reply.push((draw.token, draw.logprob));
    }
    reply
}

#[track_caller]
fn assert_same(found: &[(u32, f32)], expected: &[(u32, f32)], what: &str) {
    let tokens = |reply: &[(u32, f32)]| reply.iter().map(|(token, _)| *token).collect::<Vec<_>>();
    assert_eq!(tokens(found), tokens(expected), "{what}");
    for ((_, found), (_, expected)) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-4, "{what}: ln p {found}, alone {expected}");
    }
}

fn held_pages(model: &Model) -> usize {
    let state = model.state();
    state.caches.pages.total() - state.caches.pages.free()
}

#[test]
fn a_batch_draws_what_single_sequences_draw() {
    for is_moe in [false, true] {
        let Some(model) = exact(is_moe, 8192) else { return };
        for sampling in [Sampling::GREEDY, FILTERED] {
            let expected: Vec<_> = orders().iter().map(|order| alone(&model, order, &settings(1, sampling))).collect();
            assert_eq!(expected[9].len(), 5, "the context ends this reply");
            assert!(sampling == Sampling::GREEDY || expected[3] != expected[4], "seeds differ");
            // One by one; few that are replaced as they end; matrices instead of vectors.
            for rows in [1, 3, 16] {
                let mut batch = Batch::new(&model, settings(rows, sampling)).unwrap();
                push(&mut batch, &orders());
                let replies = run(&mut batch);
                for (id, expected) in expected.iter().enumerate() {
                    assert_same(&replies[&id], expected, &format!("reply {id} of {rows} rows, {sampling:?}, moe {is_moe}"));
                }
                drop(batch);
                assert_eq!(held_pages(&model), 0, "pages are held after the batch");
            }
        }
    }
}

#[test]
fn penalties_and_bias_are_each_rows_own() {
    let Some(model) = exact(false, 8192) else { return };
    let sampling = Sampling { repetition_penalty: 1.3, presence_penalty: 0.3, frequency_penalty: 0.4, ..FILTERED };
    let mut bias = vec![0.0; VOCAB];
    (bias[3], bias[7]) = (f32::NEG_INFINITY, 2.0);
    let settings = BatchSettings { bias: Some(bias), ..settings(4, sampling) };
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    let mut orders = orders();
    for order in &mut orders {
        order.counts = vec![0; VOCAB];
        order.prompt.iter().for_each(|&token| order.counts[token as usize] |= IN_PROMPT);
        batch.push(order.clone()).unwrap();
    }
    let replies = run(&mut batch);
    for (id, order) in orders.iter().enumerate() {
        assert_same(&replies[&id], &alone(&model, order, &settings), &format!("reply {id}"));
    }
}

#[test]
fn dense_rows_attend_to_everything_and_share_nothing() {
    let Some(model) = exact(false, 8192) else { return };
    let settings = BatchSettings { dense: true, ..settings(4, Sampling::GREEDY) };
    let order = |n, most| Order { prompt: prompt(3, n), most, seed: 0, counts: Vec::new() };
    let orders = [order(130, 4), order(130, 4), order(90, 6), order(300, 8), order(1, 70)];
    // Whole pages of the first prompt are known, as they are with selections.
    let known = alone(&model, &orders[0], &BatchSettings { dense: false, ..settings.clone() });
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    push(&mut batch, &orders);
    let replies = run(&mut batch);
    for (id, order) in orders.iter().enumerate() {
        assert_same(&replies[&id], &alone(&model, order, &settings), &format!("reply {id}"));
    }
    assert_ne!(replies[&0], known, "selections change nothing here");
    let text: Vec<u32> = prompt(3, 1).into_iter().chain(replies[&4].iter().map(|(token, _)| *token)).collect();
    assert_eq!(model.sequence().resume(&text), 0, "rows that attended to everything are not the model's");
}

#[test]
fn neighbours_with_one_prompt_share_its_pages() {
    let Some(model) = exact(false, 8192) else { return };
    let mut batch = Batch::new(&model, settings(4, FILTERED)).unwrap();
    for seed in 0..4 {
        batch.push(Order { prompt: prompt(8, 2 * PAGE as u32 + 9), most: 3, seed, counts: Vec::new() }).unwrap();
    }
    let before = held_pages(&model);
    block_on(batch.step()).unwrap();
    assert_eq!(held_pages(&model) - before, 2 + 4, "two whole pages, and the last one of each");
}

#[test]
fn replies_wait_for_room_and_one_that_never_fits_is_given_up() {
    let (Some(model), Some(large)) = (exact(false, 5 * PAGE), exact(false, 8192)) else { return };
    let settings = settings(4, FILTERED);
    let order = |seed, n, most| Order { prompt: prompt(seed, n), most, seed: seed.into(), counts: Vec::new() };
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    let mut orders: Vec<_> = (0..6).map(|seed| order(seed, 60 + 10 * seed, 8)).collect();
    // Five pages, one of which is the batch's own.
    orders.insert(3, order(9, 250, 70));
    push(&mut batch, &orders);
    let (mut replies, mut n_refused, mut most_active) = (Replies::new(), 0, 0);
    while !batch.is_empty() {
        match block_on(batch.step()) {
            Ok(draws) => take(&mut replies, draws),
            Err(ModelError::Full(_)) => n_refused += 1,
            Err(error) => panic!("{error}"),
        }
        most_active = most_active.max(batch.n_active());
    }
    assert_eq!((n_refused, replies.len()), (1, 6));
    assert!((1..4).contains(&most_active), "{most_active} replies at a time");
    for (id, order) in orders.iter().enumerate().filter(|(id, _)| *id != 3) {
        assert_same(&replies[&id], &alone(&large, order, &settings), &format!("reply {id}"));
    }
}

#[test]
fn ends_interruptions_and_neighbours_change_no_other_reply() {
    let Some(model) = exact(false, 8192) else { return };
    let settings = settings(8, FILTERED);
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    let orders = orders();
    push(&mut batch, &orders[..8]);
    let drawing = Drawing { settings: FILTERED, seed: 77, n_draws: 0, adjustments: None, dense: false, experts: false };
    let (mut draws, mut sequence, mut tokens) =
        (block_on(Draws::new(&model, drawing)).unwrap(), model.sequence(), prompt(40, 20));
    let mut replies = Replies::new();
    for turn in 0..6 {
        take(&mut replies, block_on(batch.step()).unwrap());
        // A session goes on beside it, with steps begun early.
        tokens.push(block_on(draws.next(&mut sequence, &tokens, true)).unwrap().token);
        match turn {
            1 => batch.end(1),
            2 => push(&mut batch, &orders[8..]),
            // As a call that was dropped leaves it.
            3 => (batch.is_unsure, batch.ahead) = (true, None),
            _ => {}
        }
    }
    for (id, reply) in run(&mut batch) {
        replies.entry(id).or_default().extend(reply);
    }
    for (id, order) in orders.iter().enumerate() {
        let expected = alone(&model, order, &settings);
        let n = if id == 1 { 2 } else { expected.len() };
        assert_same(&replies[&id], &expected[..n], &format!("reply {id}"));
    }
    let session = Order { prompt: prompt(40, 20), most: 6, seed: 77, counts: Vec::new() };
    let expected: Vec<_> = alone(&model, &session, &settings).into_iter().map(|(token, _)| token).collect();
    assert_eq!(tokens[20..], expected);
}

#[test]
fn caches_that_grow_meanwhile_are_the_ones_that_are_read() {
    let Some(model) = exact(false, 8192) else { return };
    let settings = settings(2, FILTERED);
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    let orders = [1, 2, 3].map(|seed| Order { prompt: prompt(seed, 40), most: 9, seed: seed.into(), counts: Vec::new() });
    push(&mut batch, &orders[..2]);
    let mut replies = Replies::new();
    (0..3).for_each(|_| take(&mut replies, block_on(batch.step()).unwrap()));
    let before = model.bytes()[1];
    let _others: Vec<_> = (0..4)
        .map(|seed| {
            let mut other = model.sequence();
            other.pretend(320, seed).unwrap();
            other
        })
        .collect();
    assert!(model.bytes()[1] > before);
    // The third takes the row of the first, so that the step is the same.
    batch.end(0);
    batch.push(orders[2].clone()).unwrap();
    for (id, reply) in run(&mut batch) {
        replies.entry(id).or_default().extend(reply);
    }
    for (id, n) in [(0, 3), (1, 9), (2, 9)] {
        assert_same(&replies[&id], &alone(&model, &orders[id], &settings)[..n], &format!("reply {id}"));
    }
}

#[test]
fn sixteen_bits_differ_by_their_rounding() {
    let Some(model) = model(true, Formats::new(WeightFormat::F16), CacheFormats::F16, 8192) else { return };
    for rows in [8, 16] {
        let settings = settings(rows, Sampling::GREEDY);
        let mut batch = Batch::new(&model, settings.clone()).unwrap();
        push(&mut batch, &orders());
        let replies = run(&mut batch);
        let mut n_same = 0;
        for (id, order) in orders().iter().enumerate() {
            // What follows another first token is another text.
            let (found, expected) = (replies[&id][0], alone(&model, &Order { most: 1, ..order.clone() }, &settings)[0]);
            n_same += usize::from(found.0 == expected.0 && (found.1 - expected.1).abs() < 0.02);
        }
        // A random model selects another position, or another expert, by a hair for some.
        assert!(n_same >= orders().len() - 2, "{n_same} of {} first draws are the same", orders().len());
    }
}

#[test]
fn what_a_batch_refuses() {
    let Some(model) = exact(false, 8192) else { return };
    for rows in [0, 65] {
        let refused = Batch::new(&model, settings(rows, FILTERED));
        assert!(matches!(refused, Err(ModelError::StepTooLong { found, chunk: 64 }) if found == rows));
    }
    assert!(matches!(Batch::new(&model, settings(4, Sampling { top_p: 0.0, ..FILTERED })), Err(ModelError::Kernel(_))));
    let mut batch = Batch::new(&model, settings(4, FILTERED)).unwrap();
    for n in [0, 321] {
        let refused = batch.push(Order { prompt: prompt(1, n), most: 1, ..Order::default() });
        assert!(matches!(refused, Err(ModelError::ContextFull { found, context: 320 }) if found == n as usize));
    }
}
