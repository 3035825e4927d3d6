//! The suite and the benchmarks of the kernel, as data.

use super::{BAD_LOGITS, IN_PROMPT, NOTHING_TO_DRAW, NextToken, STATE_HEADER, Settings, Shape, adjust, choose, logprob, uniform};
use crate::kernel::random::Random;
use crate::kernel::{Capabilities, Case, Init, KernelError, Outputs, Step, Work, Worst, compare};

/// By how much of the mass a boundary may differ from f64: f32 weights of distances up to some 20, each to 2⁻²³ of the distance.
const BOUNDARY: f64 = 3e-6;

/// By how much a log-probability may differ from f64, beside its size: the logarithm of a sum of f32 weights, and differences of logits up to 30.
const LOGPROB: f64 = 1e-6;

const PLAIN: Settings = Settings { temperature: 1.0, ..Settings::GREEDY };

/// What a row of logits looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Logits {
    /// A hump of many and some peaks, as models give.
    Model,
    /// All within two units: no filter can leave out much.
    Flat,
    /// Few different values.
    Ties,
    /// All the same.
    Equal,
    /// A hump with NaN, both infinities.
    Bad,
    /// Nothing to choose from.
    Never,
}

impl Logits {
    fn row(self, v: u32, random: &mut Random) -> Vec<f32> {
        let mut row: Vec<f32> = (0..v)
            .map(|_| match self {
                Self::Flat => random.signed(),
                Self::Ties => random.below(5) as f32 - 2.0,
                Self::Equal => 0.5,
                Self::Never => f32::NEG_INFINITY,
                Self::Model | Self::Bad => 2.0 * random.vector(4, 1.5).iter().sum::<f32>(),
            })
            .collect();
        if self == Self::Model {
            for _ in 0..40.min(v) {
                row[random.below(v) as usize] = 15.0 + 3.0 * random.signed();
            }
        }
        if self == Self::Bad {
            for bad in [f32::NAN, -f32::NAN, f32::NEG_INFINITY, f32::NAN] {
                row[random.below(v) as usize] = bad;
            }
        }
        row
    }
}

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use Logits::{Bad, Equal, Flat, Model, Never, Ties};
    let top_p = Settings { top_p: 0.95, ..PLAIN };
    let top_k = |k| Settings { top_k: k, temperature: 0.7, ..PLAIN };
    let min_p = Settings { min_p: 0.05, ..PLAIN };
    let all = Settings { temperature: 1.3, top_k: 50, top_p: 0.9, min_p: 0.02, ..PLAIN };
    let penalties = Settings { repetition_penalty: 1.2, presence_penalty: 0.5, frequency_penalty: 0.25, ..all };
    let hot = Settings { temperature: 100.0, top_p: 0.999, ..PLAIN };
    let runs = [
        (1, 1, Model, PLAIN, false),
        (2, 5, Flat, PLAIN, false),
        (3, 511, Model, Settings::GREEDY, false),
        (2, 513, Ties, Settings::GREEDY, true),
        (2, 513, Flat, PLAIN, false),
        (2, 8190, Model, top_p, false),
        (1, 8192, Flat, top_p, false),
        (3, 8192, Ties, top_p, false),
        (1, 8192, Equal, top_p, false),
        (1, 8192, Equal, top_k(600), false),
        (2, 8192, Model, top_k(7), false),
        (1, 8192, Flat, top_k(3000), false),
        (1, 1024, Model, top_k(1), false),
        (1, 700, Model, top_k(5000), false),
        (2, 8192, Model, min_p, false),
        (1, 8192, Flat, Settings { min_p: 1.0, ..PLAIN }, false),
        (2, 8191, Model, all, false),
        (2, 8192, Model, penalties, true),
        (2, 4000, Flat, Settings { temperature: 0.0, ..penalties }, true),
        (1, 8192, Flat, hot, true),
        (1, 8192, Model, Settings { temperature: 1e-4, top_p: 0.5, ..PLAIN }, false),
        (2, 2000, Bad, top_p, false),
        (1, 2000, Bad, Settings::GREEDY, false),
        (1, 2000, Never, top_p, false),
        (1, 2000, Never, Settings::GREEDY, true),
        (1, 129_280, Model, Settings { temperature: 0.6, ..top_p }, false),
        (1, 262_144, Flat, Settings { top_p: 0.5, ..PLAIN }, false),
    ];
    runs.into_iter().map(|(t, v, logits, settings, adjusted)| case(t, v, logits, settings, adjusted, 4, device)).collect()
}

/// The self-test: the most likely token, and draws behind every filter.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let all = Settings { temperature: 1.3, top_k: 50, top_p: 0.9, min_p: 0.02, ..PLAIN };
    [(3, 511, Logits::Model, Settings::GREEDY), (2, 8191, Logits::Model, all)]
        .into_iter()
        .map(|(t, v, logits, settings)| case(t, v, logits, settings, false, 4, device))
        .collect()
}

/// The benchmark cases that `device` offers: the vocabulary of DeepSeek-V3.2.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let top_p = Settings { top_p: 0.95, ..PLAIN };
    let runs = [
        (Logits::Model, Settings::GREEDY),
        (Logits::Model, PLAIN),
        (Logits::Model, top_p),
        (Logits::Flat, top_p),
        (Logits::Model, Settings { top_k: 50, ..PLAIN }),
        (Logits::Model, Settings { top_k: 50, top_p: 0.95, min_p: 0.05, ..PLAIN }),
    ];
    runs.into_iter().map(|(logits, settings)| case(1, 129_280, logits, settings, false, 1, device)).collect()
}

/// The inputs of a case.
struct Setup {
    shape: Shape,
    settings: Settings,
    adjusted: bool,
    steps: u32,
    logits: Vec<f32>,
    counts: Vec<u32>,
    bias: Vec<f32>,
    state: Vec<u32>,
    positions: Vec<u32>,
}

fn setup(t: u32, v: u32, logits: Logits, settings: Settings, adjusted: bool, steps: u32) -> Setup {
    // One token less than there are steps: the last is not recorded.
    let history = steps.saturating_sub(1).max(1);
    let shape = Shape { t, v, stride: v.next_multiple_of(4) + 8, offset: 4, history };
    let mut random = Random::new(u64::from(t * 1_000_000 + v));
    // Padding is the largest of all, so that reading it shows.
    let mut values = vec![1e9; (shape.offset + t * shape.stride) as usize];
    for row in 0..t {
        let start = (shape.offset + row * shape.stride) as usize;
        values[start..start + v as usize].copy_from_slice(&logits.row(v, &mut random));
    }
    let words = (t * shape.vocabulary_words()) as usize;
    let count = |random: &mut Random| match random.below(4) {
        0 => random.below(3),
        1 => IN_PROMPT | random.below(2),
        _ => 0,
    };
    let bias = |random: &mut Random| match random.below(8) {
        0 => f32::NEG_INFINITY,
        1 => random.signed(),
        _ => 0.0,
    };
    let mut state = Vec::new();
    for row in 0..t {
        state.extend([random.bits() as u32, random.bits() as u32, row * 1000, 0, 0, 0, 0, 0]);
        state.extend(vec![u32::MAX; history as usize]);
    }
    Setup {
        shape,
        settings,
        adjusted,
        steps,
        logits: values,
        counts: (0..words).map(|_| count(&mut random)).collect(),
        bias: (0..words).map(|_| bias(&mut random)).collect(),
        state,
        positions: (0..t).map(|row| 100 + row).collect(),
    }
}

fn case(
    t: u32,
    v: u32,
    logits: Logits,
    settings: Settings,
    adjusted: bool,
    steps: u32,
    device: &Capabilities,
) -> Result<Case, KernelError> {
    let setup = setup(t, v, logits, settings, adjusted, steps);
    let spec = NextToken::best(device, adjusted);
    let [chunks, choice] = spec.launch(setup.shape, settings, device)?;
    let Settings { temperature, top_k, top_p, min_p, .. } = settings;
    let name = format!("{} T={t} V={v} {logits:?} t={temperature} k={top_k} p={top_p} min={min_p}", choice.program.name);
    let more: &[usize] = if adjusted { &[5, 6] } else { &[] };
    let one = [
        Step { launch: chunks, buffers: [&[0, 1], more].concat() },
        Step { launch: choice, buffers: [&[0, 1, 2, 3, 4], more].concat() },
    ];
    let mut buffers = vec![
        Init::f32s(&setup.logits),
        Init::Zeros(4 * setup.shape.partial_words() as usize),
        Init::u32s(&setup.state),
        Init::Zeros(4 * t as usize),
        Init::u32s(&setup.positions),
    ];
    if adjusted {
        buffers.extend([Init::u32s(&setup.counts), Init::f32s(&setup.bias)]);
    }
    Ok(Case {
        name,
        buffers,
        steps: (0..steps).flat_map(|_| one.clone()).collect(),
        reads: if adjusted { vec![2, 3, 4, 5] } else { vec![2, 3, 4] },
        work: Work { bytes: 4.0 * f64::from(t) * f64::from(v), flops: 0.0 },
        check: Box::new(move |out| check(&setup, out)),
    })
}

/// Goes through the steps of each row, with the tokens found as its history.
fn check(setup: &Setup, out: &Outputs) -> Result<Worst, String> {
    let (state, tokens, positions) = (out.u32s(2), out.u32s(3), out.u32s(4));
    let Shape { t, v, stride, offset, history } = setup.shape;
    let words = setup.shape.vocabulary_words() as usize;
    let width = (STATE_HEADER + history) as usize;
    let draws = if setup.settings.temperature == 0.0 { 0 } else { setup.steps };
    let mut worst = Worst(0.0);
    for row in 0..t as usize {
        let start = offset as usize + row * stride as usize;
        let logits = &setup.logits[start..start + v as usize];
        let mut counts = vec![0; v as usize];
        let mut bias = vec![0.0; v as usize];
        if setup.adjusted {
            counts.copy_from_slice(&setup.counts[row * words..row * words + v as usize]);
            bias = setup.bias[row * words..row * words + v as usize].iter().map(|&b| f64::from(b)).collect();
        }
        let (before, after) = (&setup.state[row * width..(row + 1) * width], &state[row * width..(row + 1) * width]);
        let seed = u64::from(before[1]) << 32 | u64::from(before[0]);
        let mut status = if logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) { BAD_LOGITS } else { 0 };
        for step in 0..setup.steps {
            let wide: Vec<f64> = logits.iter().map(|&l| f64::from(l)).collect();
            let adjusted = adjust(&wide, &counts, &bias, &setup.settings);
            let found = if step < history { after[(STATE_HEADER + step) as usize] } else { tokens[row] };
            let u = uniform(seed, u64::from(before[2] + step));
            let acceptable = acceptable(&adjusted, &setup.settings, u, found);
            let Some(expected) = acceptable.first() else {
                return Err(format!("row {row}, step {step}: token {found} is none of those allowed"));
            };
            if expected.is_none() {
                status |= NOTHING_TO_DRAW;
            }
            if let Some(count) = counts.get_mut(found as usize) {
                *count += 1;
            }
        }
        let header = [before[0], before[1], before[2] + draws, before[3], setup.steps, status, after[6], tokens[row]];
        if status == 0 {
            let expected = logprob(logits, tokens[row] as usize);
            let found = compare("ln p", &[f32::from_bits(after[6])], &[expected], LOGPROB, LOGPROB)?;
            worst = Worst(worst.0.max(found.0));
        }
        if after[..STATE_HEADER as usize] != header {
            return Err(format!("row {row}: header {:?}, expected {header:?}", &after[..STATE_HEADER as usize]));
        }
        if setup.steps <= history && tokens[row] != after[(STATE_HEADER + setup.steps - 1) as usize] {
            return Err(format!("row {row}: token {} is not the last of the history", tokens[row]));
        }
        if positions[row] != setup.positions[row] + setup.steps {
            return Err(format!("row {row}: position {}, expected {}", positions[row], setup.positions[row] + setup.steps));
        }
        if setup.adjusted && out.u32s(5)[row * words..row * words + v as usize] != counts {
            return Err(format!("row {row}: counts differ"));
        }
    }
    Ok(worst)
}

/// Those choices of the oracle that are `found`, with every boundary where it is or moved by [`BOUNDARY`] to either side.
fn acceptable(adjusted: &[f64], settings: &Settings, u: f64, found: u32) -> Vec<Option<usize>> {
    let is_found = |choice: &Option<usize>| choice.unwrap_or(0) == found as usize;
    let exact = choose(adjusted, settings, u);
    if is_found(&exact) {
        return vec![exact];
    }
    let sides = [-BOUNDARY, 0.0, BOUNDARY];
    let moved = |value: f32, by: f64| if value >= 1.0 { value } else { (f64::from(value) * (1.0 + by)) as f32 };
    let mut choices = Vec::new();
    for case in 0..27 {
        let [p, m, at] = [case % 3, case / 3 % 3, case / 9].map(|i: usize| sides[i]);
        let settings = Settings { top_p: moved(settings.top_p, p), min_p: moved(settings.min_p, m), ..*settings };
        choices.push(choose(adjusted, &settings, (u + at).clamp(0.0, 1.0 - f64::EPSILON)));
    }
    choices.retain(is_found);
    choices
}
