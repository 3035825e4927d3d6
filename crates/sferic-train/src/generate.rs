//! A small text generator for samples during training; chatting is the business of the engine.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sferic_model::{Model, NoProbe, Options};

use crate::TrainError;
use crate::config::SampleConfig;
use crate::encoder::Encoder;

/// Continues every configured prompt and answers every configured user turn; returns `(prompt, continuation)`.
///
/// # Errors
/// Those of [`Encoder::encode_prompt`] when a prompt cannot be encoded, [`TrainError::Device`] when logits cannot be read.
pub fn samples(
    model: &Model,
    encoder: &Encoder,
    config: &SampleConfig,
    seed: u64,
    step: usize,
) -> Result<Vec<(String, String)>, TrainError> {
    let prompts = config.prompts.iter().map(|prompt| (prompt, false));
    let chats = config.chats.iter().map(|prompt| (prompt, true));
    let mut texts = Vec::new();
    for (prompt, as_chat) in prompts.chain(chats) {
        let ids = encoder.encode_prompt(prompt, as_chat)?;
        let mut rng = StdRng::seed_from_u64(seed);
        let is_end = |id| encoder.controls().is_end(id) || model.config().eos_token_id.contains(&id);
        let continuation = continue_ids(model, &ids, &is_end, (config, step), &mut rng)?;
        texts.push((prompt.clone(), encoder.decode(&continuation)?));
    }
    Ok(texts)
}

fn continue_ids(
    model: &Model,
    prompt: &[u32],
    is_end: &dyn Fn(u32) -> bool,
    (config, step): (&SampleConfig, usize),
    rng: &mut StdRng,
) -> Result<Vec<u32>, TrainError> {
    let capacity = model.config().max_position_embeddings;
    let prompt = &prompt[..prompt.len().min(capacity)];
    let mut cache = model.new_cache(capacity);
    let options = Options::default();
    let mut hidden = model.prefill(prompt, &mut cache, &options, &mut NoProbe);
    let mut ids = Vec::new();
    loop {
        let [_, n_tokens, width] = hidden.dims();
        let logits = model.logits(hidden.slice([0..1, n_tokens - 1..n_tokens, 0..width]));
        let logits = logits.try_into_vec_as::<f32>().map_err(|error| TrainError::Device {
            step,
            action: "reading logits for a sample",
            message: error.to_string(),
        })?;
        let id = draw(&logits, config.temperature, config.top_k, rng);
        if is_end(id) || ids.len() == config.max_tokens || cache.len() == capacity {
            return Ok(ids);
        }
        ids.push(id);
        hidden = model.decode(id, &mut cache, &options, &mut NoProbe);
    }
}

/// Draws a token from the `top_k` likeliest at `temperature`; the likeliest at temperature 0.
fn draw(logits: &[f32], temperature: f64, top_k: usize, rng: &mut StdRng) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    let first = order.first().copied().unwrap_or(0);
    if temperature == 0.0 {
        return first;
    }
    order.truncate(top_k.max(1));
    let largest = f64::from(logits[first as usize]);
    let weights: Vec<f64> = order.iter().map(|&id| ((f64::from(logits[id as usize]) - largest) / temperature).exp()).collect();
    let mut place = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (&id, weight) in order.iter().zip(&weights) {
        place -= weight;
        if place < 0.0 {
            return id;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_respects_temperature_and_top_k() {
        let logits = [0.0, 3.0, 2.0, -1.0];
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(draw(&logits, 0.0, 4, &mut rng), 1);
        assert!((0..200).all(|_| draw(&logits, 1.0, 1, &mut rng) == 1));
        let drawn: Vec<u32> = (0..2000).map(|_| draw(&logits, 1.0, 2, &mut rng)).collect();
        let n_second = drawn.iter().filter(|&&id| id == 2).count();
        assert!(drawn.iter().all(|&id| id == 1 || id == 2));
        // p = 1 / (1 + e) = 0.269 of 2000 draws: 538, standard deviation 20; five of them either way.
        assert!((438..=638).contains(&n_second), "{n_second}");
    }
}
