//! The correctness gate: one run of a layer against the oracles.
//!
//! The oracles are in f64 and slow, so that some queries, heads and tokens stand for all: first, last, and some between.

use super::inputs::SPREAD;
use super::launches::SCALE;
use super::layer::{Layer, Part};
use sferic_gpu::{Buffer, Device, GpuError, Graph};
use sferic_shaders::attention::mla_decode::Tiles;
use sferic_shaders::attention::sparse_mla::sparse_mla;
use sferic_shaders::indexer::index_scores::index_scores;
use sferic_shaders::indexer::top_k::key;
use sferic_shaders::kernel::compare;
use sferic_shaders::kernel::random::Random;

/// Tokens of a query whose score is compared.
const SCORES: u32 = 64;
/// Rows that are widened at a time.
const CHUNK: usize = 4096;

impl Layer {
    /// Runs the first set sparse and dense. `Ok(Err)` says what differs.
    pub(super) async fn check(&self, device: &Device) -> Result<Result<(), String>, GpuError> {
        let mut queries = vec![0, self.t / 2, self.t - 1];
        queries.dedup();
        let set = &self.sets[0];
        Graph::new(device, &self.tasks(Part::Sparse, set, &set.picked)).await?.replay(device, 1);
        for &t in &queries {
            let seen = self.len - self.t + t + 1;
            let stride = self.scratch.scores.bytes() / 4 / u64::from(self.t);
            let scores: Vec<f32> = words(device, &self.scratch.scores, u64::from(t) * stride, seen).await?;
            let k = self.shape.selected;
            let selected: Vec<i32> = words(device, &set.picked, u64::from(t * k), k).await?;
            let positions: Vec<u32> = selected.iter().filter_map(|&s| u32::try_from(s).ok()).collect();
            let verdict = self.check_scores(t, &scores).and_then(|()| check_selection(t, &selected, &scores));
            let verdict = match verdict {
                Ok(()) => self.check_output(device, t, &positions, self.launches.tiles[0]).await?,
                wrong => wrong,
            };
            if verdict.is_err() {
                return Ok(verdict);
            }
        }
        if self.prefill {
            return Ok(Ok(()));
        }
        Graph::new(device, &self.tasks(Part::Dense, set, &set.picked)).await?.replay(device, 1);
        let all: Vec<u32> = (0..self.len).collect();
        let dense = self.check_output(device, self.t - 1, &all, self.launches.tiles[1]).await?;
        Ok(dense.map_err(|reason| format!("dense {reason}")))
    }

    fn check_scores(&self, t: u32, found: &[f32]) -> Result<(), String> {
        let [heads, width] = [self.shape.index_heads, self.shape.index_width].map(|n| n as usize);
        let part = |values: &[f32], each: usize| -> Vec<f64> {
            values[t as usize * each..][..each].iter().map(|&v| f64::from(v)).collect()
        };
        let queries = &self.inputs.queries;
        let (q, w) = (part(&queries.index, heads * width), part(&queries.weights, heads));
        let absolute = |v: &[f64]| v.iter().map(|v| v.abs()).collect::<Vec<_>>();
        let last = found.len() as u32 - 1;
        let mut random = Random::new(u64::from(t));
        for s in [0, last].into_iter().chain((0..SCORES).map(|_| random.below(last + 1))) {
            let key = self.inputs.key(s);
            let score = index_scores(&q, &key, &w, heads, width)[0];
            // What the sums add up at most: their rounding errors walk at random, of 2^-24 each.
            let terms = index_scores(&absolute(&q), &absolute(&key), &absolute(&w), heads, width)[0];
            compare(&format!("score of query {t} for token {s}"), &[found[s as usize]], &[score], 1e-6 * terms, 0.0)?;
        }
        Ok(())
    }

    /// Compares the first and the last head of a query that attends to `positions`.
    async fn check_output(
        &self,
        device: &Device,
        t: u32,
        positions: &[u32],
        tiles: Tiles,
    ) -> Result<Result<(), String>, GpuError> {
        let latent = self.shape.latent;
        let heads = [0, self.shape.heads - 1];
        let expected = self.attend(t, heads, positions);
        for (head, expected) in heads.into_iter().zip(expected.chunks(latent as usize)) {
            let at = u64::from(t * self.shape.heads + head) * u64::from(latent);
            let found: Vec<f32> = words(device, &self.scratch.output, at, latent).await?;
            let bound = bound(tiles);
            if let Err(reason) = compare(&format!("output of query {t}, head {head}"), &found, expected, bound, bound) {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    /// The oracle for two heads, over some rows at a time: partial results are joined by their totals.
    fn attend(&self, t: u32, heads: [u32; 2], positions: &[u32]) -> Vec<f64> {
        let (latent, width) = (self.shape.latent as usize, self.shape.row() as usize);
        let query = |head: u32| &self.inputs.queries.attention[(t * self.shape.heads + head) as usize * width..][..width];
        let q: Vec<f64> = heads.into_iter().flat_map(query).map(|&v| f64::from(v)).collect();
        let mut output = vec![0.0; 2 * latent];
        let mut lse = [f64::NEG_INFINITY; 2];
        for chunk in positions.chunks(CHUNK) {
            let mut rows = Vec::with_capacity(chunk.len() * width);
            chunk.iter().for_each(|&position| self.inputs.row(position, &mut rows));
            let slots: Vec<i64> = (0..chunk.len() as i64).collect();
            let part = sparse_mla(&q, &rows, &slots, [2, width, chunk.len()], latent, f64::from(SCALE));
            for (head, lse) in lse.iter_mut().enumerate() {
                let larger = lse.max(part.lse[head]);
                let total = larger + ((*lse - larger).exp() + (part.lse[head] - larger).exp()).ln();
                let (old, new) = ((*lse - total).exp(), (part.lse[head] - total).exp());
                let range = head * latent..(head + 1) * latent;
                let pairs = output[range.clone()].iter_mut().zip(&part.output[range]);
                pairs.for_each(|(sum, value)| *sum = old * *sum + new * value);
                *lse = total;
            }
        }
        output
    }
}

/// The selection must be exactly that of the scores that the device computed.
fn check_selection(t: u32, selected: &[i32], scores: &[f32]) -> Result<(), String> {
    let mut expected: Vec<i32> = (0..scores.len() as i32).collect();
    expected.sort_unstable_by_key(|&s| (!key(scores[s as usize]), s));
    expected.truncate(selected.len());
    expected.sort_unstable();
    expected.resize(selected.len(), -1);
    match selected.iter().zip(&expected).position(|(found, expected)| found != expected) {
        Some(i) => Err(format!("slot {i} of query {t} is {}, expected {}", selected[i], expected[i])),
        None => Ok(()),
    }
}

/// What rounding may do to an output: in f32, exponents and sums of some thousand terms; with matrices, the query and the probabilities rounded
/// to 11 bits. Both are relative to values of about 1.
fn bound(tiles: Tiles) -> f64 {
    if matches!(tiles, Tiles::Fma { .. }) { 2e-5 } else { 1e-3 * f64::from(SPREAD) + 5e-4 }
}

async fn words<W: bytemuck::AnyBitPattern>(device: &Device, buffer: &Buffer, first: u64, n: u32) -> Result<Vec<W>, GpuError> {
    let bytes = device.read(buffer, 4 * first..4 * (first + u64::from(n))).await?;
    Ok(bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sferic_shaders::indexer::top_k::top_k;

    #[test]
    fn the_selection_is_that_of_the_oracle() {
        let mut random = Random::new(5);
        let scores: Vec<f32> = (0..300).map(|_| random.below(40) as f32 - 20.0).collect();
        let wide: Vec<f64> = scores.iter().map(|&score| f64::from(score)).collect();
        for k in [1, 17, 299, 300, 310] {
            let mut selected: Vec<i32> = top_k(&wide, k).into_iter().map(|s| s as i32).collect();
            selected.resize(k, -1);
            assert_eq!(check_selection(0, &selected, &scores), Ok(()));
            selected[0] += 1;
            assert!(check_selection(0, &selected, &scores).is_err());
        }
    }
}
