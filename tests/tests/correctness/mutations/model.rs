use std::{collections::BTreeSet, path::Path};

use burn::tensor::TensorData;
use sferic_engine::{CPU_BOUND, Golden};
use sferic_model::{
    AttentionForm, AttentionMode, CacheFormat, Config, Model, Options, TensorSource, TensorSpec, config::yarn_mscale,
    moe::GroupScore, rope::RopeLayout,
};
use sferic_testkit::{
    device::cpu,
    fixture,
    model::{Run, run_from},
};
use sferic_weights::{Checkpoint, SafeFile, WeightsError};

use super::{Red, Table};

/// Changes a tensor on its way from the checkpoint to the model.
type Edit = fn(&Weights, &TensorSpec, &mut Vec<f32>);

/// A checkpoint whose tensors pass through an edit.
struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    folder: &'a Path,
    config: &'a Config,
    edit: Option<Edit>,
}

impl TensorSource for Weights<'_> {
    type Error = WeightsError;

    fn tensor(&mut self, spec: &TensorSpec) -> Result<TensorData, WeightsError> {
        let mut values = self.checkpoint.read_f32(&spec.name, &spec.shape)?;
        if let Some(edit) = self.edit {
            edit(self, spec, &mut values);
        }
        Ok(TensorData::new(values, spec.shape.clone()))
    }
}

impl Weights<'_> {
    fn model(mut self) -> Model {
        Model::load(self.config, &mut self, &cpu()).unwrap()
    }

    fn index_head_dim(&self) -> usize {
        self.config.indexer.as_ref().unwrap().index_head_dim
    }

    /// Returns the FP8 scales of a tensor, `[ceil(out / 128), ceil(in / 128)]`, if it is stored in FP8.
    fn scales(&self, spec: &TensorSpec) -> Option<Vec<f32>> {
        let file = SafeFile::open(self.folder.join("model.safetensors")).unwrap();
        let name = format!("{}_scale_inv", spec.name);
        file.contains(&name).then(|| file.f32(&name).unwrap())
    }
}

/// A bug in the model, judged by a reference checkpoint.
struct Mutation {
    /// Number in spec §9, or another section.
    item: &'static str,
    bug: &'static str,
    golden: &'static str,
    config: fn(&mut Config),
    edit: Option<Edit>,
    options: Options,
    /// Feeds this many tokens to a model with edited weights, and the rest to the right one on the same cache.
    n_edited: Option<usize>,
}

const NONE: Mutation = Mutation {
    item: "",
    bug: "none",
    golden: "deepseek_v32-tiny",
    config: |_| (),
    edit: None,
    options: Options {
        attention: AttentionMode::Sparse,
        form: AttentionForm::Auto,
        hadamard: false,
        index_format: CacheFormat::F32,
        latent_format: CacheFormat::F32,
    },
    n_edited: None,
};

impl Mutation {
    /// Runs the mutated model over the checkpoint's prompt; nothing where the checkpoint is not at hand.
    fn reds(&self) -> Option<Vec<Red>> {
        let folder = fixture::golden(self.golden)?;
        let golden = Golden::open(&folder).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let mut config = Config::from_json(checkpoint.config_json()).unwrap();
        (self.config)(&mut config);
        let weights = |edit| Weights { checkpoint: &checkpoint, folder: &folder, config: &config, edit };
        let model = weights(self.edit.filter(|_| self.n_edited.is_none())).model();
        let mut cache = model.new_cache(golden.input_ids.len());
        let (first, rest) = golden.input_ids.split_at(self.n_edited.unwrap_or(0));
        let mut run = run_from(&weights(self.edit).model(), &mut cache, first, &[first.len()], &self.options);
        let after = run_from(&model, &mut cache, rest, &[rest.len()], &self.options);
        append(&mut run, after);
        Some(compare_with(&golden, &run))
    }
}

fn append(run: &mut Run, after: Run) {
    let n_layers = after.hidden.len();
    run.logits.extend(after.logits);
    run.hidden.resize(n_layers, Vec::new());
    run.selected.resize(after.selected.len().max(run.selected.len()), Vec::new());
    for (rows, after) in run.hidden.iter_mut().zip(after.hidden) {
        rows.extend(after);
    }
    for (rows, after) in run.selected.iter_mut().zip(after.selected) {
        rows.extend(after);
    }
}

/// The checks of `sferic verify` but for the continuation.
fn compare_with(golden: &Golden, run: &Run) -> Vec<Red> {
    let mut reds = Vec::new();
    for (layer_idx, expected) in &golden.topk {
        let found = run.selected.get(*layer_idx).map_or(&[][..], Vec::as_slice);
        let set = |row: &[i32]| -> BTreeSet<i64> { row.iter().filter(|s| **s >= 0).map(|s| i64::from(*s)).collect() };
        let is_equal =
            |(t, row): &(usize, &[i32])| found.get(*t).is_some_and(|found| set(row) == found.iter().copied().collect());
        let n_wrong = expected.n_rows - expected.rows().enumerate().filter(is_equal).count();
        if n_wrong > 0 {
            reds.push(Red { check: format!("topk.{layer_idx}"), number: format!("{n_wrong} of {} sets", expected.n_rows) });
        }
    }
    let hidden = golden
        .hidden
        .iter()
        .map(|(layer_idx, expected)| (format!("hidden.{layer_idx}"), expected, &run.hidden[*layer_idx], true));
    for (check, expected, found, is_relative) in hidden.chain([("logits".to_owned(), &golden.logits, &run.logits, false)]) {
        let largest = expected.values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let unit = if is_relative { f64::from(largest) } else { 1.0 };
        let differences = found.iter().zip(&expected.values).map(|(found, expected)| (found - f64::from(*expected)).abs() / unit);
        let worst = differences.fold(0.0, |a, b| if b.is_nan() { f64::INFINITY } else { f64::max(a, b) });
        if worst > f64::from(CPU_BOUND) {
            reds.push(Red { check, number: format!("{worst:.1e}") });
        }
    }
    reds
}

/// Turns the rows of every `period` so that row `shift` comes first.
fn turn_rows(values: &mut [f32], width: usize, period: usize, shift: usize) {
    values.chunks_mut(period * width).for_each(|block| block.rotate_left(shift * width));
}

/// Makes an edit of the tensors whose name has one of these endings.
macro_rules! edit {
    ($($ending:literal)|+, |$weights:ident, $spec:ident, $values:ident| $body:expr) => {
        Some(|$weights: &Weights, $spec: &TensorSpec, $values: &mut Vec<f32>| {
            let _ = ($weights, $spec);
            if $($spec.name.ends_with($ending))||+ {
                $body
            }
        })
    };
}

fn model_mutations() -> Vec<Mutation> {
    let mut mutations = indexer_mutations();
    mutations.extend(attention_mutations());
    mutations.extend(router_mutations());
    mutations.extend(fp8_mutations());
    mutations
}

fn indexer_mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            item: "9.1",
            bug: "indexer rotates interleaved pairs",
            config: |c| c.indexer.as_mut().unwrap().rope_layout = RopeLayout::Interleaved,
            ..NONE
        },
        Mutation {
            item: "9.1",
            bug: "GLM's indexer rotates half-split pairs",
            golden: "glm_moe_dsa-tiny",
            config: |c| c.indexer.as_mut().unwrap().rope_layout = RopeLayout::HalfSplit,
            ..NONE
        },
        Mutation { item: "9.2", bug: "k_norm without its bias", edit: edit!("k_norm.bias", |_w, _s, v| v.fill(0.0)), ..NONE },
        Mutation {
            item: "9.3",
            bug: "indexer without YaRN",
            golden: "deepseek_v32-yarn",
            config: |c| c.indexer.as_mut().unwrap().yarn = None,
            ..NONE
        },
        Mutation {
            item: "9.4",
            bug: "indexer rotates the last components",
            edit: edit!("indexer.wq_b.weight" | "indexer.wk.weight" | "k_norm.weight" | "k_norm.bias", |w, s, v| {
                let (dim, width) = (w.index_head_dim(), s.shape.get(1).copied().unwrap_or(1));
                turn_rows(v, width, dim, dim - w.config.qk_rope_head_dim);
            }),
            ..NONE
        },
        Mutation {
            item: "9.16",
            bug: "index keys of the first tokens not cached",
            edit: edit!("indexer.wk.weight" | "k_norm.bias", |_w, _s, v| v.fill(0.0)),
            n_edited: Some(8),
            ..NONE
        },
        Mutation {
            item: "9.32",
            bug: "indexer ignored, attention dense",
            options: Options { attention: AttentionMode::Dense, ..NONE.options },
            ..NONE
        },
        Mutation {
            item: "3.6",
            bug: "one token too few selected",
            config: |c| c.indexer.as_mut().unwrap().index_topk -= 1,
            ..NONE
        },
    ]
}

fn attention_mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            item: "9.14",
            bug: "m² missing in the softmax scale",
            golden: "deepseek_v32-yarn",
            config: |c| c.rope.mscale_all_dim = None,
            ..NONE
        },
        Mutation {
            item: "9.14",
            bug: "m on cosines and sines",
            golden: "deepseek_v32-yarn",
            config: |c| c.rope.attention_factor = yarn_mscale(c.rope.yarn.unwrap().factor, 1.0),
            ..NONE
        },
        Mutation {
            item: "9.14",
            bug: "softmax scale from the cache row's width",
            edit: edit!("q_b_proj.weight", |w, _s, v| {
                let factor = (w.config.qk_head_dim() as f32 / w.config.latent_width() as f32).sqrt();
                v.iter_mut().for_each(|v| *v *= factor);
            }),
            ..NONE
        },
        Mutation {
            item: "9.15",
            bug: "main rotation of half-split pairs",
            config: |c| c.rope_layout = RopeLayout::HalfSplit,
            ..NONE
        },
        Mutation {
            item: "2.2",
            bug: "rotated part taken from the front of a head",
            edit: edit!("q_b_proj.weight", |w, s, v| turn_rows(v, s.shape[1], w.config.qk_head_dim(), w.config.qk_rope_head_dim)),
            ..NONE
        },
        Mutation {
            item: "9.35",
            bug: "kv_b rows read as all keys, then all values",
            edit: edit!("kv_b_proj.weight", |w, s, v| {
                let (heads, nope, value, width) =
                    (w.config.num_attention_heads, w.config.qk_nope_head_dim, w.config.v_head_dim, s.shape[1]);
                let rows: Vec<&[f32]> = v.chunks(width).collect();
                let head = |h: usize| [&rows[h * nope..][..nope], &rows[heads * nope + h * value..][..value]].concat().concat();
                *v = (0..heads).flat_map(head).collect();
            }),
            ..NONE
        },
    ]
}

fn router_mutations() -> Vec<Mutation> {
    vec![
        Mutation {
            item: "9.13",
            bug: "group score is the best expert's",
            config: |c| c.moe.as_mut().unwrap().routing.group_score = GroupScore::Max,
            ..NONE
        },
        Mutation { item: "4.2", bug: "groups ignored", config: |c| c.moe.as_mut().unwrap().routing.n_group = 1, ..NONE },
        Mutation {
            item: "4.2",
            bug: "weights not normalised",
            config: |c| c.moe.as_mut().unwrap().routing.norm_topk_prob = false,
            ..NONE
        },
        Mutation {
            item: "4.2",
            bug: "routed_scaling_factor not applied",
            config: |c| c.moe.as_mut().unwrap().routing.routed_scaling_factor = 1.0,
            ..NONE
        },
        Mutation {
            item: "4.2",
            bug: "correction bias ignored",
            edit: edit!("e_score_correction_bias", |_w, _s, v| v.fill(0.0)),
            ..NONE
        },
        Mutation {
            item: "4.2",
            bug: "DeepSeek-V2's weights normalised",
            golden: "deepseek_v2-lite",
            config: |c| c.moe.as_mut().unwrap().routing.norm_topk_prob = true,
            ..NONE
        },
    ]
}

/// Changes every FP8 weight by what `f` makes of its scale and of the scale of the transposed block.
fn rescale(w: &Weights, spec: &TensorSpec, values: &mut [f32], f: fn(f32, f32) -> f32) {
    let Some(scales) = w.scales(spec) else { return };
    let (n_rows, n_cols) = (spec.shape[0].div_ceil(128), spec.shape[1].div_ceil(128));
    for (row, values) in values.chunks_mut(spec.shape[1]).enumerate() {
        for (col, value) in values.iter_mut().enumerate() {
            let (row, col) = (row / 128, col / 128);
            let transposed = scales[col.min(n_rows - 1) * n_cols + row.min(n_cols - 1)];
            *value *= f(scales[row * n_cols + col], transposed);
        }
    }
}

fn fp8_mutations() -> Vec<Mutation> {
    const FP8: Mutation = Mutation { golden: "deepseek_v32-fp8", ..NONE };
    vec![
        Mutation {
            item: "1.3",
            bug: "weight_scale_inv as a divisor",
            edit: edit!("weight", |w, s, v| rescale(w, s, v, |own, _| 1.0 / (own * own))),
            ..FP8
        },
        Mutation {
            item: "1.3",
            bug: "scales of the transposed block",
            edit: edit!("weight", |w, s, v| rescale(w, s, v, |own, other| other / own)),
            ..FP8
        },
        // The other bias halves the value of every code.
        Mutation {
            item: "9.25",
            bug: "weights decoded as e4m3fnuz",
            edit: edit!("weight", |w, s, v| rescale(w, s, v, |_, _| 0.5)),
            ..FP8
        },
    ]
}

#[test]
fn bugs_in_the_model_turn_a_reference_checkpoint_red() {
    let mutations = model_mutations();
    let goldens: BTreeSet<&str> = mutations.iter().map(|mutation| mutation.golden).collect();
    for golden in goldens {
        if let Some(red) = (Mutation { golden, ..NONE }).reds().unwrap_or_default().first() {
            panic!("{golden} without a bug: {} is red: {}", red.check, red.number);
        }
    }
    let mut table = Table::default();
    for mutation in &mutations {
        if let Some(reds) = mutation.reds() {
            table.add(mutation.item, mutation.bug, mutation.golden, reds);
        }
    }
    assert!(table.n_bugs >= 12, "the repository carries the checkpoints of most bugs");
    table.finish();
}
