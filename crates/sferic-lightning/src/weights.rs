//! Weights on the device, in the order and the formats that the kernels read.
//!
//! Matrices that share an input are stacked: `[q_a | kv_a | wk | weights_proj]` on the hidden state, `[q_b | wq_b]` on the query latent. The two
//! halves of `kv_b_proj` stand apart, the keys' half transposed, which is what the absorbed form multiplies with. Shared experts are further
//! experts at the end of the stack, and a dense feed-forward block is a stack of one expert.

use crate::architecture::{Architecture, LayerKind, Selection};
use crate::formats::Formats;
use sferic_gpu::{Buffer, Device, GpuError};
use sferic_shaders::kernel::random::Random;
use sferic_shaders::kernel::{WeightFormat, Weights};

/// Where a model's tensors come from, by their checkpoint names, widened to f32.
pub trait Source {
    /// Why a tensor could not be had.
    type Error;

    /// Returns the tensor `name` of exactly `shape`, row-major.
    ///
    /// # Errors
    /// Whatever the source reports; loading stops there.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Self::Error>;
}

/// A failure while loading.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// The source has no such tensor.
    #[error(transparent)]
    Source(E),
    /// The device has no room for it.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The kernels do not know this kind of model.
    #[error("the kernels do not run this model: {0}")]
    Unsupported(&'static str),
}

/// Stacked matrices `[z, o, i]` on the device.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Format of the values.
    pub format: WeightFormat,
    /// Matrices in the stack.
    pub z: u32,
    /// Rows of each.
    pub o: u32,
    /// Columns of each.
    pub i: u32,
    /// The values.
    pub data: Buffer,
    /// Their scales, in formats that have some.
    pub scales: Option<Buffer>,
}

impl Matrix {
    fn new(format: WeightFormat, [z, o, i]: [u32; 3], data: Buffer, scales: Option<Buffer>) -> Self {
        Self { format, z, o, i, data, scales }
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.data.bytes() + self.scales.as_ref().map_or(0, Buffer::bytes)
    }
}

/// Where the parts of a token's projections stand, in values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Projections {
    /// `[C + R]`
    pub kv: u32,
    /// `[Di]`, in layers with an indexer.
    pub index_k: u32,
    /// `[Hi]`, in layers with an indexer.
    pub index_w: u32,
    /// From one token to the next.
    pub stride: u32,
}

/// The weights of one layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its number, from 0.
    pub index: usize,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// `input_layernorm`.
    pub input_norm: Buffer,
    /// `[q_a | kv_a | wk | weights_proj]` on the normalised hidden state.
    pub down: Matrix,
    /// `weights_proj` on the normalised hidden state, where it is not among `down`.
    pub index_weights: Option<Matrix>,
    /// Where `down` and `index_weights` write.
    pub projections: Projections,
    /// `q_a_layernorm`, in models with a query latent; else the queries come from the hidden state, behind `input_norm`.
    pub query_norm: Option<Buffer>,
    /// `[q_b | wq_b]`, or `[q | wq_b]`.
    pub queries: Matrix,
    /// The latent's weight, then the index key's weight and bias.
    pub norms: Buffer,
    /// `W_UKᵀ` of each head, `[H, C, Dn]`.
    pub absorb: Matrix,
    /// `W_UV` of each head, `[H, Dv, C]`.
    pub value: Matrix,
    /// `o_proj`.
    pub output: Matrix,
    /// `post_attention_layernorm`.
    pub feed_forward_norm: Buffer,
    /// The router, in mixture layers.
    pub router: Option<Matrix>,
    /// `e_score_correction_bias`, where there is one.
    pub router_bias: Option<Buffer>,
    /// `[E + S, 2I, D]`, gate rows before up rows.
    pub gate_up: Matrix,
    /// `[E + S, D, I]`.
    pub down_experts: Matrix,
}

/// All weights of a model.
#[derive(Debug, Clone)]
pub struct ModelWeights {
    /// The embedding table.
    pub embedding: Matrix,
    /// The layers.
    pub layers: Vec<Layer>,
    /// The final norm, times [`Architecture::logits_scale`].
    pub norm: Buffer,
    /// The head.
    pub head: Matrix,
    /// Bytes on the device.
    pub bytes: u64,
}

/// What weights are made of.
enum Origin<'a, S> {
    /// Tensors.
    Given(&'a mut S),
    /// Random numbers.
    Random,
    /// Nothing: every buffer is this one.
    Outline(Buffer),
}

/// Values of a matrix, or the wish for random ones.
enum Values {
    Given(Vec<f32>),
    Random,
}

struct Loader<'a, S> {
    device: &'a Device,
    origin: Origin<'a, S>,
    formats: Formats,
    random: Random,
    bytes: u64,
}

impl ModelWeights {
    /// Loads every tensor of `source`, one at a time; `progress` hears after each layer how many are done.
    ///
    /// # Errors
    /// [`LoadError`]; what is on the device by then is released.
    pub fn load<S: Source>(
        device: &Device,
        architecture: &Architecture,
        formats: Formats,
        source: &mut S,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, LoadError<S::Error>> {
        Loader { device, origin: Origin::Given(source), formats, random: Random::new(0), bytes: 0 }.model(architecture, progress)
    }

    /// Makes random weights: the sizes of a model without its files, for benchmarks.
    ///
    /// # Errors
    /// [`LoadError::Gpu`] when they do not fit.
    pub fn random(
        device: &Device,
        architecture: &Architecture,
        formats: Formats,
    ) -> Result<Self, LoadError<std::convert::Infallible>> {
        let loader: Loader<'_, NoSource> = Loader { device, origin: Origin::Random, formats, random: Random::new(1), bytes: 0 };
        loader.model(architecture, &mut |_| {})
    }

    /// Formats and sizes without values, to record steps that are not run.
    pub(crate) fn outline(device: &Device, architecture: &Architecture, formats: Formats) -> Result<Self, GpuError> {
        let origin = Origin::Outline(device.allocate("outline", Buffer::ALIGNMENT)?);
        let loader: Loader<'_, NoSource> = Loader { device, origin, formats, random: Random::new(0), bytes: 0 };
        loader.model(architecture, &mut |_| {}).map_err(|error| match error {
            LoadError::Gpu(error) => error,
            LoadError::Unsupported(why) => GpuError::Device(why.into()),
            LoadError::Source(never) => match never {},
        })
    }
}

/// The source of random weights, which is never asked.
struct NoSource;

impl Source for NoSource {
    type Error = std::convert::Infallible;

    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Vec<f32>, Self::Error> {
        Ok(vec![0.0; shape.iter().product()])
    }
}

impl<S: Source> Loader<'_, S> {
    fn model(
        mut self,
        architecture: &Architecture,
        progress: &mut dyn FnMut(usize),
    ) -> Result<ModelWeights, LoadError<S::Error>> {
        if architecture.has_attention_bias {
            return Err(LoadError::Unsupported("its attention projections have biases"));
        }
        let (vocab, d) = (architecture.vocab, architecture.d_model);
        let table = self.values("model.embed_tokens.weight", &[vocab, d])?;
        let head = match (architecture.tied, &table) {
            (false, _) => Some(self.values("lm_head.weight", &[vocab, d])?),
            (true, Values::Given(values)) if architecture.embedding_scale != 1.0 => Some(Values::Given(values.clone())),
            (true, _) => None,
        };
        let format = self.formats.vocabulary;
        let embedding = self.matrix_in(format, scaled(table, architecture.embedding_scale), 1, vocab, d)?;
        let head = match head {
            Some(values) => self.matrix_in(format, values, 1, vocab, d)?,
            None => embedding.clone(),
        };
        let mut layers = Vec::with_capacity(architecture.layers.len());
        for (layer_idx, kind) in architecture.layers.iter().enumerate() {
            layers.push(self.layer(architecture, layer_idx, *kind)?);
            progress(layer_idx + 1);
        }
        let mut norm = self.vector("model.norm.weight", d)?;
        norm.iter_mut().for_each(|weight| *weight *= architecture.logits_scale as f32);
        let norm = self.buffer("norm", bytemuck::cast_slice(&norm))?;
        Ok(ModelWeights { embedding, layers, norm, head, bytes: self.bytes })
    }

    fn layer(&mut self, a: &Architecture, layer_idx: usize, kind: LayerKind) -> Result<Layer, LoadError<S::Error>> {
        let name = |leaf: &str| format!("model.layers.{layer_idx}.{leaf}");
        let attention = |leaf: &str| name(&format!("self_attn.{leaf}"));
        let d = a.d_model;
        let indexer = a.indexer.as_ref().filter(|_| kind.selection == Selection::Own);
        let d_query_in = a.q_rank.unwrap_or(d);
        let n_queries = a.n_heads * a.d_query();

        let mut down = Stack::new(d);
        if let Some(rank) = a.q_rank {
            down.push(self.values(&attention("q_a_proj.weight"), &[rank, d])?, rank);
        }
        let kv = down.rows;
        down.push(self.values(&attention("kv_a_proj_with_mqa.weight"), &[a.d_latent(), d])?, a.d_latent());
        let index_k = down.rows;
        let queries_name = attention(if a.q_rank.is_some() { "q_b_proj.weight" } else { "q_proj.weight" });
        let mut queries = Stack::new(d_query_in);
        queries.push(self.values(&queries_name, &[n_queries, d_query_in])?, n_queries);
        let mut norms = self.vector(&attention("kv_a_layernorm.weight"), a.kv_rank)?;
        let mut index_weights = None;
        let (mut index_w, mut stride) = (index_k, index_k);
        if let Some(indexer) = indexer {
            let (heads, width) = (indexer.n_heads, indexer.d_head);
            down.push(self.values(&attention("indexer.wk.weight"), &[width, d])?, width);
            queries.push(self.values(&attention("indexer.wq_b.weight"), &[heads * width, d_query_in])?, heads * width);
            norms.extend(self.vector(&attention("indexer.k_norm.weight"), width)?);
            norms.extend(self.vector(&attention("indexer.k_norm.bias"), width)?);
            let values = self.values(&attention("indexer.weights_proj.weight"), &[heads, d])?;
            index_w = down.rows;
            stride = down.rows + heads;
            if self.formats.of_down(stride * d).is_some() {
                down.push(values, heads);
            } else {
                index_weights = Some(self.matrix_in(self.formats.sensitive, values, 1, heads, d)?);
            }
        }
        let projections = Projections {
            kv: kv as u32,
            index_k: index_k as u32,
            index_w: index_w as u32,
            stride: stride.next_multiple_of(4) as u32,
        };
        let down_format = self.formats.of_down(stride * d).unwrap_or(self.formats.matrices);
        let (absorb, value) = self.expand(a, &attention("kv_b_proj.weight"))?;
        let output = self.values(&attention("o_proj.weight"), &[d, a.n_heads * a.d_value])?;
        let (router, router_bias, gate_up, down_experts) = self.feed_forward(a, &name("mlp"), kind)?;
        let query_norm = match a.q_rank {
            Some(rank) => Some(self.norm(&attention("q_a_layernorm.weight"), rank)?),
            None => None,
        };
        Ok(Layer {
            index: layer_idx,
            kind,
            input_norm: self.norm(&name("input_layernorm.weight"), d)?,
            down: self.stack(down_format, down)?,
            index_weights,
            projections,
            query_norm,
            queries: self.stack(self.formats.matrices, queries)?,
            norms: self.buffer("norms", bytemuck::cast_slice(&norms))?,
            absorb,
            value,
            output: self.matrix(scaled(output, a.residual_scale), 1, d, a.n_heads * a.d_value)?,
            feed_forward_norm: self.norm(&name("post_attention_layernorm.weight"), d)?,
            router,
            router_bias,
            gate_up,
            down_experts,
        })
    }

    /// Takes `kv_b_proj` apart: `W_UKᵀ` `[H, C, Dn]` and `W_UV` `[H, Dv, C]`.
    fn expand(&mut self, a: &Architecture, name: &str) -> Result<(Matrix, Matrix), LoadError<S::Error>> {
        let (heads, c, nope, value) = (a.n_heads, a.kv_rank, a.d_nope, a.d_value);
        let (mut keys, mut values) = (Values::Random, Values::Random);
        if let Values::Given(rows) = self.values(name, &[heads * (nope + value), c])? {
            let mut transposed = vec![0.0; heads * c * nope];
            let mut kept = Vec::with_capacity(heads * value * c);
            for (head, rows) in rows.chunks_exact((nope + value) * c).enumerate() {
                for (n, row) in rows[..nope * c].chunks_exact(c).enumerate() {
                    for (at, weight) in row.iter().enumerate() {
                        transposed[(head * c + at) * nope + n] = *weight;
                    }
                }
                kept.extend_from_slice(&rows[nope * c..]);
            }
            (keys, values) = (Values::Given(transposed), Values::Given(kept));
        }
        Ok((self.matrix(keys, heads, c, nope)?, self.matrix(values, heads, value, c)?))
    }

    #[allow(clippy::type_complexity, reason = "four parts of one layer")]
    fn feed_forward(
        &mut self,
        a: &Architecture,
        prefix: &str,
        kind: LayerKind,
    ) -> Result<(Option<Matrix>, Option<Buffer>, Matrix, Matrix), LoadError<S::Error>> {
        let d = a.d_model;
        let Some(experts) = a.experts.filter(|_| kind.is_moe) else {
            let width = a.d_feed_forward;
            let mut gate_up = Stack::new(d);
            gate_up.push(self.values(&format!("{prefix}.gate_proj.weight"), &[width, d])?, width);
            gate_up.push(self.values(&format!("{prefix}.up_proj.weight"), &[width, d])?, width);
            let down = self.values(&format!("{prefix}.down_proj.weight"), &[d, width])?;
            let gate_up = self.stack(self.formats.matrices, gate_up)?;
            return Ok((None, None, gate_up, self.matrix(scaled(down, a.residual_scale), 1, d, width)?));
        };
        let (routed, shared, width) = (experts.n_routed, experts.n_shared, experts.width);
        let router = self.values(&format!("{prefix}.gate.weight"), &[routed, d])?;
        let router = self.matrix_in(self.formats.sensitive, router, 1, routed, d)?;
        let bias =
            if experts.has_bias { Some(self.norm(&format!("{prefix}.gate.e_score_correction_bias"), routed)?) } else { None };
        let mut gate_up = self.values(&format!("{prefix}.experts.gate_up_proj"), &[routed, 2 * width, d])?;
        let mut down = self.values(&format!("{prefix}.experts.down_proj"), &[routed, d, width])?;
        if shared > 0 {
            let all = width * shared;
            let gate = self.values(&format!("{prefix}.shared_experts.gate_proj.weight"), &[all, d])?;
            let up = self.values(&format!("{prefix}.shared_experts.up_proj.weight"), &[all, d])?;
            let shared_down = self.values(&format!("{prefix}.shared_experts.down_proj.weight"), &[d, all])?;
            let given = (&mut gate_up, &mut down, gate, up, shared_down);
            if let (
                Values::Given(gate_up),
                Values::Given(down),
                Values::Given(gate),
                Values::Given(up),
                Values::Given(shared_down),
            ) = given
            {
                for expert in 0..shared {
                    let rows = expert * width * d..(expert + 1) * width * d;
                    gate_up.extend_from_slice(&gate[rows.clone()]);
                    gate_up.extend_from_slice(&up[rows]);
                    shared_down
                        .chunks_exact(all)
                        .for_each(|row| down.extend_from_slice(&row[expert * width..(expert + 1) * width]));
                }
            }
        }
        let n = routed + shared;
        let gate_up = self.matrix(gate_up, n, 2 * width, d)?;
        Ok((Some(router), bias, gate_up, self.matrix(scaled(down, a.residual_scale), n, d, width)?))
    }

    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Values, LoadError<S::Error>> {
        match &mut self.origin {
            Origin::Given(source) => source.tensor(name, shape).map(Values::Given).map_err(LoadError::Source),
            Origin::Random | Origin::Outline(_) => Ok(Values::Random),
        }
    }

    fn vector(&mut self, name: &str, n: usize) -> Result<Vec<f32>, LoadError<S::Error>> {
        Ok(match self.values(name, &[n])? {
            Values::Given(values) => values,
            Values::Random => vec![1.0; n],
        })
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<Buffer, LoadError<S::Error>> {
        let values = self.vector(name, n)?;
        self.buffer(name, bytemuck::cast_slice(&values))
    }

    fn stack(&mut self, format: WeightFormat, stack: Stack) -> Result<Matrix, LoadError<S::Error>> {
        let values = if stack.is_random { Values::Random } else { Values::Given(stack.values) };
        self.matrix_in(format, values, 1, stack.rows, stack.columns)
    }

    fn matrix(&mut self, values: Values, z: usize, o: usize, i: usize) -> Result<Matrix, LoadError<S::Error>> {
        self.matrix_in(self.formats.matrices, values, z, o, i)
    }

    fn matrix_in(
        &mut self,
        format: WeightFormat,
        values: Values,
        z: usize,
        o: usize,
        i: usize,
    ) -> Result<Matrix, LoadError<S::Error>> {
        let format = Formats::fitting(format, i);
        let size = [z, o, i].map(|n| n as u32);
        if let Origin::Outline(buffer) = &self.origin {
            let scales = format.has_scales().then(|| buffer.clone());
            return Ok(Matrix::new(format, size, buffer.clone(), scales));
        }
        let weights = match values {
            Values::Given(values) => quantize(format, &values, z, o, i),
            Values::Random => self.random(format, z, o, i),
        };
        let data = self.buffer("weights", &weights.data)?;
        let scales = if format.has_scales() { Some(self.buffer("scales", &weights.scales)?) } else { None };
        Ok(Matrix::new(format, size, data, scales))
    }

    /// Random codes with scales that keep the products near the size of their inputs.
    fn random(&mut self, format: WeightFormat, z: usize, o: usize, i: usize) -> Weights {
        let n = z * o * i;
        let size = (3.0 / i as f32).sqrt();
        if !format.has_scales() {
            let values = self.random.vector(n, size);
            return format.quantize(&values, z * o, i);
        }
        // A stretch of codes, repeated: what a matrix product reads is as random as it needs to be, and 16 billion codes are made in seconds.
        let one = format.quantize(&self.random.vector(64 * i, size), 64, i);
        let repeat = |part: &[u8], bytes: usize| part.iter().copied().cycle().take(bytes).collect();
        let bytes = |all: u64| all as usize;
        let rows = (z * o) as u32;
        let data = repeat(&one.data, bytes(format.bytes(rows, i as u32)));
        let scales = repeat(&one.scales, bytes(z as u64 * format.scale_bytes(o as u32, i as u32)));
        Weights { format, o: z * o, i, data, scales }
    }

    fn buffer(&mut self, label: &str, bytes: &[u8]) -> Result<Buffer, LoadError<S::Error>> {
        if let Origin::Outline(buffer) = &self.origin {
            return Ok(buffer.clone());
        }
        let buffer = self.device.upload(label, bytes)?;
        self.bytes += buffer.bytes();
        Ok(buffer)
    }
}

/// FP8 scales are by blocks of rows of one matrix, so each matrix of a stack is rounded by itself.
fn quantize(format: WeightFormat, values: &[f32], z: usize, o: usize, i: usize) -> Weights {
    if format != WeightFormat::Fp8 {
        return format.quantize(values, z * o, i);
    }
    let mut all = Weights { format, o: z * o, i, data: Vec::new(), scales: Vec::new() };
    for matrix in values.chunks_exact(o * i) {
        let one = format.quantize(matrix, o, i);
        all.data.extend(one.data);
        all.scales.extend(one.scales);
    }
    all
}

fn scaled(values: Values, scale: f64) -> Values {
    match values {
        Values::Given(mut values) if scale != 1.0 => {
            values.iter_mut().for_each(|value| *value *= scale as f32);
            Values::Given(values)
        }
        values => values,
    }
}

/// Rows that share an input.
struct Stack {
    values: Vec<f32>,
    is_random: bool,
    rows: usize,
    columns: usize,
}

impl Stack {
    fn new(columns: usize) -> Self {
        Self { values: Vec::new(), is_random: false, rows: 0, columns }
    }

    fn push(&mut self, values: Values, rows: usize) {
        match values {
            Values::Given(values) => self.values.extend(values),
            Values::Random => self.is_random = true,
        }
        self.rows += rows;
    }
}
