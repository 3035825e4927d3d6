//! The suite and the benchmarks of the kernel, as data.

use super::{Append, Format, Index, Params, index_key, index_query, latent_row};
use crate::indexer::index_scores::weight_scale;
use crate::kernel::random::Random;
use crate::kernel::{Binding, Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst, compare, f16_value};
use crate::quant::{act_quant::ue8m0_scale, e4m3};
use crate::rope::rotate::{Layout, inv_freq};
use crate::rope::step::{NO_ROW, step_rows};
use crate::shared::Lanes;

/// Half the width of a unit of f16's last place, relative.
const F16_HALF: f64 = 4.9e-4;
/// The same of bf16.
const BF16_HALF: f64 = 3.91e-3;
/// Error of a rotation of components below 1: four roundings of at most 2⁻²⁴ each on values below 1.5, and those of cosine and sine.
const ROTATION: f64 = 5e-7;
/// Error of a norm over a few hundred components, for values up to about 2.
const NORM: f64 = 2e-6;
/// Error of a norm, a rotation and a transform: the transform adds Di errors and divides by the root of Di, at most 128.
const TRANSFORM: f64 = 1e-5;
/// What caches and `qfull` hold before.
const OLD: u32 = 0xC0DE_C0DE;

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use Format::{F16, F32, Fp8};
    use Layout::{HalfSplit, Interleaved};
    let index = |heads, dim, layout, format, hadamard| Some(Index { heads, dim, layout, format, hadamard });
    let shapes = [
        // Heads, Dn, C, R, layout, latent format, indexer; tokens.
        ((3, 16, 128, 16, Interleaved, F32, None), 1),
        ((40, 64, 256, 32, HalfSplit, F16, None), 7),
        ((6, 48, 128, 16, Interleaved, F16, index(4, 32, HalfSplit, F16, false)), 5),
        ((5, 24, 384, 64, Interleaved, Fp8, index(3, 128, HalfSplit, Fp8, true)), 3),
        ((128, 128, 512, 64, Interleaved, Fp8, index(64, 128, HalfSplit, Fp8, true)), 2),
        ((128, 128, 512, 64, Interleaved, F16, index(64, 128, HalfSplit, F16, false)), 2),
        ((4, 8, 72, 8, HalfSplit, F32, index(33, 64, Interleaved, F32, true)), 70),
        ((4, 8, 72, 8, Interleaved, F16, index(9, 24, HalfSplit, F32, false)), 67),
        ((2, 0, 128, 16, Interleaved, Fp8, index(130, 16, Interleaved, Fp8, false)), 66),
        // The queries are another kernel's.
        ((0, 8, 72, 8, HalfSplit, F16, None), 3),
        ((0, 48, 128, 16, Interleaved, F32, index(4, 32, HalfSplit, F16, false)), 5),
    ];
    shapes.into_iter().map(|(shape, t)| case(spec(shape, device), t, t, device)).collect()
}

/// The self-test: latents and keys of every format, with and without queries.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use Format::{F16, F32, Fp8};
    use Layout::{HalfSplit, Interleaved};
    let index = |heads, dim, format, hadamard| Some(Index { heads, dim, layout: HalfSplit, format, hadamard });
    let shapes = [
        ((6, 48, 128, 16, Interleaved, F16, index(4, 32, F16, false)), 5),
        ((5, 24, 384, 64, Interleaved, Fp8, index(3, 128, Fp8, true)), 3),
        ((0, 48, 128, 16, Interleaved, F32, index(4, 32, F32, false)), 5),
    ];
    shapes.into_iter().map(|(shape, t)| case(spec(shape, device), t, t, device)).collect()
}

/// The benchmark cases that `device` offers: shapes of DeepSeek-V3.2.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let index = |format, hadamard| Some(Index { heads: 64, dim: 128, layout: Layout::HalfSplit, format, hadamard });
    let mut found = Vec::new();
    let kinds = [(Format::F16, None), (Format::F16, index(Format::F16, false)), (Format::Fp8, index(Format::Fp8, true))];
    for t in [1, 512] {
        // The base tier cannot bind the 144 MiB of 512 tokens' queries.
        if u64::from(t) * 128 * 576 * 4 <= device.limits.max_binding_bytes {
            for (format, index) in kinds {
                found.push(case(spec((128, 128, 512, 64, Layout::Interleaved, format, index), device), t, 4, device)?);
            }
        }
    }
    Ok(found)
}

type Shape = (u32, u32, u32, u32, Layout, Format, Option<Index>);

fn spec((heads, nope, latent, rope, layout, format, index): Shape, device: &Capabilities) -> Append {
    Append { lanes: Lanes::of(device.features), heads, nope, latent, rope, layout, format, index }
}

/// The inputs of a case, and what to look at.
struct Setup {
    spec: Append,
    params: Params,
    projections: Vec<f32>,
    queries: Vec<f32>,
    norms: Vec<f32>,
    positions: Vec<u32>,
    step: Vec<u32>,
    inv_freq: Vec<f64>,
    /// Tokens to check.
    checked: Vec<usize>,
}

impl Setup {
    /// Which buffer has a name, if the kernel binds it.
    fn at(&self, name: &str) -> Option<usize> {
        self.spec.bindings().iter().position(|binding| binding.name == name)
    }
}

/// Pages of the caches; the block table takes them from the last to the first.
const PAGES: u32 = 11;

fn setup(spec: Append, t: u32, n_checked: u32) -> Setup {
    let Append { heads, nope, latent, rope, index, .. } = spec;
    let (hi, di) = index.map_or((0, 0), |index| (index.heads, index.dim));
    // A gap before, between and after the parts.
    let (q_offset, index_q_offset) = (4, 4 + heads * (nope + rope) + 8);
    let (kv_offset, index_k_offset) = (3, 3 + latent + rope + 1);
    let index_w_offset = index_k_offset + di + 2;
    let params = Params {
        t,
        q_stride: index_q_offset + hi * di + 4,
        q_offset,
        p_stride: index_w_offset + hi + 5,
        kv_offset,
        index_q_offset,
        index_k_offset,
        index_w_offset,
        eps: 1e-6,
        index_eps: 1e-6,
        w_scale: if index.is_some() { weight_scale(hi as usize, di as usize) as f32 } else { 0.0 },
    };
    let mut random = Random::new(u64::from(t * 1000 + heads));
    let inv_freq = inv_freq(1e4, rope as usize, None);
    let rows = PAGES * 64;
    let angles = (0..rows).flat_map(|p| inv_freq.iter().map(move |f| f64::from(p) * f));
    let table: Vec<u32> = angles.flat_map(|a| [(a.cos() as f32).to_bits(), (a.sin() as f32).to_bits()]).collect();
    // Consecutive positions, but where there are several, the last is beyond the pages.
    let mut positions: Vec<u32> = (37..37 + t).collect();
    if let Some(last) = positions.last_mut().filter(|_| t > 2) {
        *last = (PAGES - 1) * 64;
    }
    let blocks: Vec<u32> = (0..PAGES - 1).map(|page| PAGES - 1 - page).collect();
    Setup {
        spec,
        params,
        projections: random.vector((t * params.p_stride) as usize, 1.0),
        queries: random.vector((t * params.q_stride) as usize, 1.0),
        norms: random.vector((latent + 2 * di) as usize, 1.0),
        step: step_rows(&table, rope as usize, &positions, &blocks),
        inv_freq,
        checked: if n_checked == t {
            (0..t as usize).collect()
        } else {
            (0..n_checked).map(|_| random.below(t) as usize).collect()
        },
        positions,
    }
}

fn case(spec: Append, t: u32, n_checked: u32, device: &Capabilities) -> Result<Case, KernelError> {
    let setup = setup(spec, t, n_checked);
    let launch = spec.launch(setup.params, device)?;
    let old = |words: u32| Init::u32s(&vec![OLD; words as usize]);
    let buffer = |binding: &Binding| match binding.name {
        "projections" => Init::f32s(&setup.projections),
        "queries" => Init::f32s(&setup.queries),
        "norms" => Init::f32s(&setup.norms),
        "step" => Init::u32s(&setup.step),
        "qfull" => old(t * spec.heads * (spec.latent + spec.rope)),
        "cache" => old(PAGES * 64 * spec.format.latent_words(spec.latent, spec.rope)),
        _ => old(PAGES * spec.index.map_or(0, |index| index.format.index_page_words(index.dim))),
    };
    let buffers: Vec<_> = spec.bindings().iter().map(buffer).collect();
    // Queries are read and written; of a row its values are read and its words written.
    let moved = spec.heads * spec.rope * 2 + spec.latent + spec.rope + spec.format.latent_words(spec.latent, spec.rope);
    let index_moved = spec.index.map_or(0, |index| {
        let width = if index.whole() { index.dim } else { spec.rope };
        2 * index.heads * (width + 1) + index.dim + index.format.index_page_words(index.dim) / 64
    });
    let all: Vec<usize> = (0..buffers.len()).collect();
    let reads = all.iter().copied().filter(|&i| !["norms", "step"].contains(&spec.bindings()[i].name)).collect();
    Ok(Case {
        name: format!("{} T={t}", launch.program.name),
        buffers,
        steps: vec![Step { launch, buffers: all }],
        reads,
        work: Work { bytes: 4.0 * f64::from(t) * f64::from(moved + index_moved), flops: 0.0 },
        check: Box::new(move |out| check(&setup, out)),
    })
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// A token's part of a wide buffer.
fn part<T>(values: &[T], t: usize, stride: u32, offset: u32, width: u32) -> &[T] {
    let start = t * stride as usize + offset as usize;
    &values[start..start + width as usize]
}

fn check(setup: &Setup, out: &Outputs) -> Result<Worst, String> {
    let mut worst = 0.0_f64;
    let mut see = |found: Result<Worst, String>| found.map(|share| worst = worst.max(share.0));
    let words = |name| setup.at(name).map(|i| out.u32s(i)).unwrap_or_default();
    let values = |name| setup.at(name).map(|i| out.f32s(i)).unwrap_or_default();
    let (qfull, cache, index_cache) = (values("qfull"), words("cache"), words("index_cache"));
    for &t in &setup.checked {
        see(check_queries(setup, t, &qfull))?;
        see(check_latent(setup, t, &cache))?;
        if let Some(index) = &setup.spec.index {
            see(check_index_key(setup, index, t, &index_cache))?;
            see(check_index_queries(setup, index, t, &values("queries"), &values("projections")))?;
        }
    }
    if setup.checked.len() == setup.positions.len() {
        check_untouched(setup, out)?;
    }
    Ok(Worst(worst))
}

fn check_queries(setup: &Setup, t: usize, qfull: &[f32]) -> Result<Worst, String> {
    let Append { heads, nope, latent, rope, layout, .. } = setup.spec;
    let mut worst = 0.0_f64;
    for h in 0..heads {
        let offset = setup.params.q_offset + h * (nope + rope) + nope;
        let q = part(&setup.queries, t, setup.params.q_stride, offset, rope);
        let expected = index_query(&widen(q), setup.positions[t] as usize, &setup.inv_freq, layout, false);
        let found = part(qfull, t, heads * (latent + rope), h * (latent + rope) + latent, rope);
        worst = worst.max(compare(&format!("qfull of token {t}, head {h}"), found, &expected, ROTATION, 0.0)?.0);
    }
    Ok(Worst(worst))
}

/// The cache row of a token, as the step says.
fn row_of(setup: &Setup, t: usize) -> u32 {
    setup.step[t * (setup.spec.rope as usize + 4) + setup.spec.rope as usize]
}

fn half_values(words: &[u32], widen: impl Fn(u16) -> f32) -> Vec<f32> {
    words.iter().flat_map(|&word| [widen(word as u16), widen((word >> 16) as u16)]).collect()
}

fn check_latent(setup: &Setup, t: usize, cache: &[u32]) -> Result<Worst, String> {
    let Append { latent, rope, layout, format, .. } = setup.spec;
    let row = row_of(setup, t);
    if row == NO_ROW {
        return Ok(Worst(0.0));
    }
    let kv = widen(part(&setup.projections, t, setup.params.p_stride, setup.params.kv_offset, latent + rope));
    let weight = widen(&setup.norms[..latent as usize]);
    let expected = latent_row(&kv, &weight, f64::from(setup.params.eps), setup.positions[t] as usize, &setup.inv_freq, layout);
    let words = part(cache, row as usize, format.latent_words(latent, rope), 0, format.latent_words(latent, rope));
    let what = format!("latent row of token {t}");
    match format {
        Format::F32 => compare(&what, &half_or_whole(words), &expected, NORM, 0.0),
        Format::F16 => compare(&what, &half_values(words, f16_value), &expected, NORM, F16_HALF),
        Format::Fp8 => {
            let (values, rest) = words.split_at(latent as usize / 4);
            let (scales, key) = rest.split_at(latent as usize / 128);
            for (tile, scale) in scales.iter().enumerate() {
                let bytes: &[u8] = bytemuck::cast_slice(&values[tile * 32..(tile + 1) * 32]);
                check_fp8(&format!("{what}, tile {tile}"), bytes, *scale, &expected[tile * 128..(tile + 1) * 128], NORM)?;
            }
            let key = half_values(key, |bits| f32::from_bits(u32::from(bits) << 16));
            compare(&what, &key, &expected[latent as usize..], ROTATION, BF16_HALF)
        }
    }
}

fn half_or_whole(words: &[u32]) -> Vec<f32> {
    words.iter().map(|&word| f32::from_bits(word)).collect()
}

/// Codes and scale of a block that must be those of some values within `error` of `expected`.
fn check_fp8(what: &str, codes: &[u8], scale: u32, expected: &[f64], error: f64) -> Result<Worst, String> {
    let found: Vec<f64> = codes.iter().map(|&code| e4m3::decode(code)).collect();
    check_rounded(what, &found, f64::from(f32::from_bits(scale)), expected, error)
}

fn check_rounded(what: &str, found: &[f64], scale: f64, expected: &[f64], error: f64) -> Result<Worst, String> {
    let amax = expected.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    if scale != ue8m0_scale(amax - error) && scale != ue8m0_scale(amax + error) {
        return Err(format!("{what}: scale {scale}, expected {}", ue8m0_scale(amax)));
    }
    for (i, (found, v)) in found.iter().zip(expected).enumerate() {
        let (low, high) = (e4m3::round((v - error) / scale), e4m3::round((v + error) / scale));
        if !(low..=high).contains(found) {
            return Err(format!("{what}[{i}] is {found} · {scale}, expected {v} rounded"));
        }
    }
    Ok(Worst(0.0))
}

fn check_index_key(setup: &Setup, index: &Index, t: usize, cache: &[u32]) -> Result<Worst, String> {
    let row = row_of(setup, t) as usize;
    if row == NO_ROW as usize {
        return Ok(Worst(0.0));
    }
    let (latent, dim) = (setup.spec.latent as usize, index.dim as usize);
    let k = widen(part(&setup.projections, t, setup.params.p_stride, setup.params.index_k_offset, index.dim));
    let (weight, bias) = (widen(&setup.norms[latent..latent + dim]), widen(&setup.norms[latent + dim..]));
    let norm = (weight.as_slice(), bias.as_slice(), f64::from(setup.params.index_eps));
    let position = setup.positions[t] as usize;
    let expected = index_key(&k, norm, position, &setup.inv_freq, index.layout, index.hadamard);
    let what = format!("index key of token {t}");
    match index.format {
        Format::F32 => compare(&what, &half_or_whole(&cache[row * dim..(row + 1) * dim]), &expected, TRANSFORM, 0.0),
        Format::F16 => {
            let found = half_values(&cache[row * dim / 2..(row + 1) * dim / 2], f16_value);
            compare(&what, &found, &expected, TRANSFORM, F16_HALF)
        }
        Format::Fp8 => {
            let page = &cache[row / 64 * (16 * dim + 64)..(row / 64 + 1) * (16 * dim + 64)];
            let codes = bytemuck::cast_slice(&page[row % 64 * dim / 4..(row % 64 + 1) * dim / 4]);
            check_fp8(&what, codes, page[16 * dim + row % 64], &expected, TRANSFORM)
        }
    }
}

fn check_index_queries(setup: &Setup, index: &Index, t: usize, queries: &[f32], projections: &[f32]) -> Result<Worst, String> {
    let mut worst = 0.0_f64;
    let params = &setup.params;
    let before = part(&setup.projections, t, params.p_stride, params.index_w_offset, index.heads);
    let weights = part(projections, t, params.p_stride, params.index_w_offset, index.heads);
    for h in 0..index.heads {
        let offset = params.index_q_offset + h * index.dim;
        let q = widen(part(&setup.queries, t, params.q_stride, offset, index.dim));
        let position = setup.positions[t] as usize;
        let expected = index_query(&q, position, &setup.inv_freq, index.layout, index.hadamard);
        let found = part(queries, t, params.q_stride, offset, index.dim);
        let what = format!("index query of token {t}, head {h}");
        let mut scale = 1.0;
        if index.format == Format::Fp8 {
            let amax = expected.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
            // The weight tells which of two scales a value at the edge has got.
            let share = f64::from(weights[h as usize]) / (f64::from(before[h as usize]) * f64::from(params.w_scale));
            scale = [amax - TRANSFORM, amax + TRANSFORM].map(ue8m0_scale).into_iter().fold(0.0, |best: f64, scale| {
                if (share / scale - 1.0).abs() < (share / best - 1.0).abs() { scale } else { best }
            });
            check_rounded(&what, &widen(found), scale, &expected, TRANSFORM)?;
        } else {
            worst = worst.max(compare(&what, found, &expected, TRANSFORM, 0.0)?.0);
        }
        let weight = f64::from(before[h as usize]) * f64::from(params.w_scale) * scale;
        let what = format!("weight of token {t}, head {h}");
        worst = worst.max(compare(&what, &weights[h as usize..=h as usize], &[weight], 0.0, 2e-7)?.0);
    }
    Ok(Worst(worst))
}

/// Everything between the parts, and the rows of other tokens, must be as before.
fn check_untouched(setup: &Setup, out: &Outputs) -> Result<(), String> {
    let (spec, params) = (&setup.spec, &setup.params);
    let same = |what: &str, found: &[u32], expected: &dyn Fn(usize) -> u32, written: &dyn Fn(u32) -> bool, stride: u32| {
        let differs = |&(i, found): &(usize, &u32)| *found != expected(i) && !written(i as u32 % stride);
        match found.iter().enumerate().find(differs) {
            Some((i, _)) => Err(format!("{what}[{i}] was written")),
            None => Ok(()),
        }
    };
    let within = |place: u32, offset: u32, width: u32| (offset..offset + width).contains(&place);
    let index = spec.index.as_ref();
    let in_queries = |place| index.is_some_and(|index| within(place, params.index_q_offset, index.heads * index.dim));
    let in_projections = |place| index.is_some_and(|index| within(place, params.index_w_offset, index.heads));
    let words = |name| setup.at(name).map(|i| out.u32s(i)).unwrap_or_default();
    same("queries", &words("queries"), &|i| setup.queries[i].to_bits(), &in_queries, params.q_stride)?;
    same("projections", &words("projections"), &|i| setup.projections[i].to_bits(), &in_projections, params.p_stride)?;
    let width = spec.latent + spec.rope;
    same("qfull", &words("qfull"), &|_| OLD, &|place| place >= spec.latent, width)?;
    let rows: Vec<u32> = (0..setup.positions.len()).map(|t| row_of(setup, t)).collect();
    let row_words = spec.format.latent_words(spec.latent, spec.rope);
    same("cache", &words("cache"), &|_| OLD, &|place| rows.contains(&(place / row_words)), u32::MAX)?;
    if let Some(index) = index {
        let page_words = index.format.index_page_words(index.dim);
        let written = |place: u32| {
            let (page, place) = (place / page_words, place % page_words);
            let keys = if index.format == Format::Fp8 { 16 * index.dim } else { page_words };
            let slot = if place < keys { place / (keys / 64) } else { place - keys };
            rows.contains(&(page * 64 + slot))
        };
        same("index_cache", &words("index_cache"), &|_| OLD, &written, u32::MAX)?;
    }
    Ok(())
}
