//! Draws of the host, and recorded experts.

use super::*;
use crate::{Experts, LogitsBatch};

/// The most likely token with its log-probability.
fn greedy(logits: &[f32]) -> (u32, f32) {
    assert_eq!(logits.len(), VOCAB);
    let (mut token, mut largest) = (0, f32::NEG_INFINITY);
    for (at, &logit) in (0..).zip(logits) {
        if logit > largest {
            (token, largest) = (at, logit);
        }
    }
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    (token, -sum.ln() as f32)
}

fn add(experts: &mut Experts, more: Experts) {
    more.into_iter().for_each(|(layer_idx, rows)| experts.entry(layer_idx).or_default().extend(rows));
}

/// Draws until every reply has ended, with the experts of each; `between` may do something after each step.
fn run_host(batch: &mut LogitsBatch, mut between: impl FnMut(usize, &mut LogitsBatch)) -> (Replies, BTreeMap<usize, Experts>) {
    let (mut replies, mut experts) = (Replies::new(), BTreeMap::<usize, Experts>::new());
    for turn in 0.. {
        if batch.is_empty() {
            break;
        }
        let logits = block_on(batch.step()).unwrap();
        assert_eq!(logits.ids().len(), batch.n_active());
        for (n, id) in logits.ids().enumerate() {
            let (token, logprob) = greedy(&logits.row(n));
            let reply = replies.entry(id).or_default();
            reply.push((token, logprob));
            let taken = batch.take(id, token);
            add(experts.entry(id).or_default(), taken.experts);
        }
        between(turn, batch);
    }
    assert_eq!(block_on(batch.step()).unwrap().ids().len(), 0);
    (replies, experts)
}

/// A sequence's reply with its experts.
fn alone_with_experts(model: &Model, order: &Order, settings: &BatchSettings) -> (Vec<(u32, f32)>, Experts) {
    let drawing = Drawing {
        settings: settings.sampling,
        seed: order.seed,
        n_draws: 0,
        adjustments: None,
        dense: settings.dense,
        experts: true,
    };
    let (mut draws, mut sequence) = (block_on(Draws::new(model, drawing)).unwrap(), model.sequence());
    let (mut tokens, mut reply, mut experts) = (order.prompt.clone(), Vec::new(), Experts::new());
    while reply.len() < order.most && tokens.len() <= model.settings().context {
        let draw = block_on(draws.next(&mut sequence, &tokens, false)).unwrap();
        tokens.push(draw.token);
        reply.push((draw.token, draw.logprob));
        add(&mut experts, draw.experts);
    }
    (reply, experts)
}

#[test]
fn the_host_can_draw() {
    let Some(model) = exact(false, 8192) else { return };
    for dense in [false, true] {
        let settings = BatchSettings { dense, ..settings(1, Sampling::GREEDY) };
        let expected: Vec<_> = orders().iter().map(|order| alone(&model, order, &settings)).collect();
        for rows in [1, 3, 16] {
            let mut batch = LogitsBatch::new(&model, rows, dense, false).unwrap();
            for order in orders() {
                batch.push(order.prompt, order.most).unwrap();
            }
            let (replies, experts) = run_host(&mut batch, |_, _| ());
            for (id, expected) in expected.iter().enumerate() {
                assert_same(&replies[&id], expected, &format!("reply {id} of {rows} rows, dense {dense}"));
                assert!(experts[&id].is_empty(), "{id}");
            }
            drop(batch);
            assert_eq!(held_pages(&model), 0, "pages are held after the batch");
        }
    }
}

/// A call that was dropped, replies that end early or come later, and tokens that are not taken.
#[test]
fn interruptions_change_no_draw_of_the_host() {
    let Some(model) = exact(false, 8192) else { return };
    let (orders, settings) = (orders(), settings(8, Sampling::GREEDY));
    let mut batch = LogitsBatch::new(&model, 8, false, false).unwrap();
    orders[..8].iter().for_each(|order| assert!(batch.push(order.prompt.clone(), order.most).unwrap() < 8));
    let (replies, _) = run_host(&mut batch, |turn, batch| match turn {
        1 => batch.end(1),
        2 => orders[8..].iter().for_each(|order| assert!(batch.push(order.prompt.clone(), order.most).unwrap() >= 8)),
        // Nobody draws from these.
        3 => assert!(block_on(batch.step()).unwrap().ids().len() > 1),
        4 => batch.0.is_unsure = true,
        _ => {}
    });
    for (id, order) in orders.iter().enumerate() {
        let expected = alone(&model, order, &settings);
        let n = if id == 1 { 2 } else { expected.len() };
        assert_same(&replies[&id], &expected[..n], &format!("reply {id}"));
    }
    let nobody = batch.take(99, 1);
    assert!(nobody.is_last && nobody.experts.is_empty());
}

#[test]
fn recorded_experts_are_those_of_single_sequences() {
    let Some(model) = exact(true, 8192) else { return };
    let settings = BatchSettings { experts: true, ..settings(4, Sampling::GREEDY) };
    let expected: Vec<_> = orders().iter().map(|order| alone_with_experts(&model, order, &settings)).collect();
    let n_tokens = |id: usize| orders()[id].prompt.len() + expected[id].0.len() - 1;
    let n_active = model.architecture().experts.as_ref().unwrap().routing.n_active;
    assert!((0..expected.len()).all(|id| expected[id].1.len() == 3 && expected[id].1[&1].len() == n_active * n_tokens(id)));
    // Whole pages of the prompts are there for others, without their experts.
    for rows in [4, 16] {
        let settings = BatchSettings { rows, ..settings.clone() };
        let mut batch = Batch::new(&model, settings).unwrap();
        push(&mut batch, &orders());
        let mut found = BTreeMap::<usize, Experts>::new();
        while !batch.is_empty() {
            for draw in block_on(batch.step()).unwrap() {
                add(found.entry(draw.id).or_default(), draw.experts);
            }
        }
        let mut batch = LogitsBatch::new(&model, rows, false, true).unwrap();
        orders().into_iter().for_each(|order| assert!(batch.push(order.prompt, order.most).is_ok()));
        let (_, of_host) = run_host(&mut batch, |turn, batch| {
            if turn == 1 {
                // They are read again, and told once.
                block_on(batch.step()).unwrap();
            }
        });
        for (id, (_, expected)) in expected.iter().enumerate() {
            assert!(found[&id] == *expected, "reply {id} of {rows} rows, drawn on the device");
            assert!(of_host[&id] == *expected, "reply {id} of {rows} rows, drawn by the host");
        }
    }
}

#[test]
fn what_a_batch_of_logits_refuses() {
    let Some(model) = exact(false, 8192) else { return };
    for rows in [0, 65] {
        let refused = LogitsBatch::new(&model, rows, false, false);
        assert!(matches!(refused, Err(ModelError::StepTooLong { found, chunk: 64 }) if found == rows));
    }
    let mut batch = LogitsBatch::new(&model, 4, false, false).unwrap();
    let refused = batch.push(prompt(1, 321), 1);
    assert!(matches!(refused, Err(ModelError::ContextFull { found: 321, context: 320 })));
}
