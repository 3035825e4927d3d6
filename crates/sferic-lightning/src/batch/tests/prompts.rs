//! Prompts that are computed together.

use super::*;

/// Short prompts, two of them the same, and a long one whose first steps are its own.
fn short_orders() -> Vec<Order> {
    let lengths = [9, 23, 1, 40, 17, 17, 33, 140, 12, 28, 5, 20];
    let order = |(seed, n): (u32, u32)| Order { prompt: prompt(seed / 2 * 2, n), most: 3, seed: seed.into(), counts: Vec::new() };
    (0..).zip(lengths).map(order).collect()
}

#[test]
fn prompts_that_wait_are_computed_along() {
    let Some(model) = exact(true, 8192) else { return };
    let settings = settings(4, FILTERED);
    let orders = short_orders();
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    push(&mut batch, &orders[..7]);
    let mut replies = Replies::new();
    take(&mut replies, block_on(batch.step()).unwrap());
    // The four that begin have 69 tokens, of which the second step has 5 and room for more.
    let ready: Vec<usize> = batch.ready.iter().map(|prompt| prompt.sequence.len()).collect();
    assert_eq!((ready, batch.n_active()), (vec![16, 32], 4));
    // Nobody asks any more for what is ready.
    batch.end(4);
    batch.end(5);
    push(&mut batch, &orders[7..]);
    for (id, reply) in run(&mut batch) {
        replies.entry(id).or_default().extend(reply);
    }
    assert_eq!(model.state().turn, 2, "two steps of the long prompt are its own, all others together");
    drop(batch);
    assert_eq!(held_pages(&model), 0, "pages are held after the batch");
    for (id, order) in orders.iter().enumerate() {
        match replies.get(&id) {
            Some(reply) => assert_same(reply, &alone(&model, order, &settings), &format!("reply {id}")),
            None => assert!([4, 5].contains(&id), "no reply {id}"),
        }
    }
}

#[test]
fn full_caches_keep_prompts_from_being_computed_along() {
    let (Some(model), Some(large)) = (exact(false, 4 * PAGE), exact(false, 8192)) else { return };
    let settings = settings(2, FILTERED);
    let orders = short_orders();
    let mut batch = Batch::new(&model, settings.clone()).unwrap();
    push(&mut batch, &orders[..7]);
    let mut replies = Replies::new();
    take(&mut replies, block_on(batch.step()).unwrap());
    assert!(batch.ready.is_empty() && batch.n_active() == 2, "one page is the batch's own, and each reply has one");
    for (id, reply) in run(&mut batch) {
        replies.entry(id).or_default().extend(reply);
    }
    for (id, order) in orders[..7].iter().enumerate() {
        assert_same(&replies[&id], &alone(&large, order, &settings), &format!("reply {id}"));
    }
}
