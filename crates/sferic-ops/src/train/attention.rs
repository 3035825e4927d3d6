//! Attention in the expanded form, streamed: nothing of the size `T × T` is kept.

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};
use sferic_shaders::kernel::{Capabilities, KernelError};
use sferic_shaders::train::attention::Attention;
use sferic_shaders::train::attention_grad::{AttentionGrad, Side};
use sferic_shaders::train::{self as shaders, Sizes, Widths};

use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply, capabilities};

/// Widths of heads are padded to a multiple of this, with zeros.
pub(super) const UNIT: usize = 16;

/// What each token sees.
#[derive(Clone, Debug)]
pub enum Visible {
    /// All tokens up to itself.
    Causal,
    /// All tokens of its document up to itself; `[B, T]`, the first token of the document, never falling within a sequence.
    Documents(Tensor<2, Int>),
    /// Its selection; `[B, T, ceil(T / 32)]`, bit `s mod 32` of word `s / 32` for token `s`, at least one for each token and none after it.
    Selected(Tensor<3, Int>),
}

impl Visible {
    pub(super) fn kind(&self) -> shaders::Visible {
        match self {
            Self::Causal | Self::Documents(_) => shaders::Visible::Causal,
            Self::Selected(_) => shaders::Visible::Selected,
        }
    }

    /// The buffer that kernels read, for sequences on `device`.
    pub(super) fn array(&self, [n_batch, n_tokens]: [usize; 2], device: &Device) -> Option<Array> {
        match self {
            Self::Causal => Array::from_int(Tensor::<2, Int>::zeros([n_batch, n_tokens], &device.clone().inner())),
            Self::Documents(starts) => Array::from_int(starts.clone()),
            Self::Selected(bits) => Array::from_int(bits.clone()),
        }
    }
}

/// Attention's output, and what forms its probabilities again.
#[derive(Clone, Debug)]
pub struct Attended {
    /// `[B, T, H, Dv]`, on the graph.
    pub output: Tensor<4>,
    /// `[B, T, H, QK]`, off the graph.
    pub(super) q: Array,
    /// `[B, T, H, QK]`, off the graph.
    pub(super) k: Array,
    /// `[B, H, T]`, off the graph.
    pub(super) lse: Array,
    pub(super) visible: Array,
    pub(super) kind: shaders::Visible,
    pub(super) sizes: Sizes,
    pub(super) device: Capabilities,
}

/// Returns `o_h = softmax(scale · q_h · k_hᵀ) · v_h` over the tokens that each token sees, or nothing where the stock form is to be taken.
///
/// With cooperative matrices q, k, v, probabilities and the gradient of the output are rounded to f16 on their way into products.
///
/// # Shapes
/// - q, k: `[B, T, H, Dn + Dr]` f32
/// - v: `[B, T, H, Dv]` f32
pub fn attention(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, visible: &Visible, scale: f64) -> Option<Attended> {
    let device = capabilities(&q.device())?;
    if [q.dtype(), k.dtype(), v.dtype()].iter().any(|dtype| *dtype != DType::F32) {
        return None;
    }
    let [n_batch, n_tokens, n_heads, _] = q.dims();
    let d_value = v.dims()[3];
    let [q, k, v] = [q, k, v].map(|tensor| padded(tensor.clone(), 3, UNIT));
    let (qk, width) = (u32::try_from(q.dims()[3]).ok()?, u32::try_from(v.dims()[3]).ok()?);
    let [b, t, h] = [n_batch, n_tokens, n_heads].map(u32::try_from);
    let sizes = Sizes { b: b.ok()?, t: t.ok()?, h: h.ok()?, scale: scale as f32 };
    let key = Key::new(Widths { qk, v: width }, visible.kind(), &sizes, &device);
    let passes = Passes::of(key, &device).ok()?;
    let seen = visible.array([n_batch, n_tokens], &q.device())?;
    let function = Arc::new(Streamed { passes, visible: seen.clone() });
    let applied = apply::<4>([q.into(), k.into(), v.into()], function)?;
    let [q, k, _, _, lse] = <[Array; 5]>::try_from(applied.saved).ok()?;
    let output = applied.output.narrow(3, 0, d_value);
    Some(Attended { output, q, k, lse, visible: seen, kind: visible.kind(), sizes, device })
}

/// Pads a dimension with zeros to a multiple of `unit`.
pub(super) fn padded<const D: usize>(tensor: Tensor<D>, dim: usize, unit: usize) -> Tensor<D> {
    let mut dims = tensor.dims();
    let missing = dims[dim].next_multiple_of(unit) - dims[dim];
    if missing == 0 {
        return tensor;
    }
    dims[dim] = missing;
    let zeros = Tensor::zeros(dims, &tensor.device());
    Tensor::cat(vec![tensor, zeros], dim)
}

/// What the launches depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    forward: Attention,
    queries: AttentionGrad,
    keys: AttentionGrad,
    sizes: [u32; 3],
    scale_bits: u32,
}

impl Key {
    pub(super) fn new(widths: Widths, visible: shaders::Visible, sizes: &Sizes, device: &Capabilities) -> Self {
        let gradients = |side| AttentionGrad::best(side, widths, visible, device);
        Self {
            forward: Attention::best(widths, visible, device),
            queries: gradients(Side::Queries),
            keys: gradients(Side::Keys),
            sizes: [sizes.b, sizes.t, sizes.h],
            scale_bits: sizes.scale.to_bits(),
        }
    }
}

/// The launches of both passes.
#[derive(Debug)]
pub(super) struct Passes {
    forward: Kernel,
    dots: Kernel,
    queries: Kernel,
    keys: Kernel,
    /// `[B, T, H, QK, V]`
    pub(super) dims: [usize; 5],
}

impl Passes {
    pub(super) fn of(key: Key, device: &Capabilities) -> Result<Arc<Self>, KernelError> {
        static PASSES: Cache<Key, Passes> = Cache::new();
        PASSES.get(key, |key| {
            let Widths { qk, v } = key.forward.widths;
            let [b, t, h] = key.sizes;
            let sizes = Sizes { b, t, h, scale: f32::from_bits(key.scale_bits) };
            Ok(Self {
                forward: Kernel::new(key.forward.launch(&sizes, device)?),
                dots: Kernel::new(AttentionGrad::dots(v, &sizes, device)?),
                queries: Kernel::new(key.queries.launch(&sizes, device)?),
                keys: Kernel::new(key.keys.launch(&sizes, device)?),
                dims: [b, t, h, qk, v].map(|n| n as usize),
            })
        })
    }
}

impl Passes {
    /// Attends; saves q, k, v, the output and the logarithms.
    pub(super) fn attend(&self, q: Array, k: Array, v: Array, visible: &Array) -> Forward {
        let [b, t, h, _, width] = self.dims;
        let output = q.empty_like([b, t, h, width], DType::F32);
        let lse = q.empty_like([b, h, t], DType::F32);
        self.forward.run(&[&q, &k, &v, visible, &output, &lse]);
        Forward { saved: vec![q, k, v, output.clone(), lse], output }
    }

    /// Returns the gradient of the queries, where it is wanted, and those of the keys and after them the values.
    pub(super) fn differentiate(&self, saved: &[Array], grad: &Array, visible: &Array, wanted: [bool; 2]) -> [Option<Array>; 2] {
        let (q, k, v, output, lse) = (&saved[0], &saved[1], &saved[2], &saved[3], &saved[4]);
        let [b, t, h, qk, width] = self.dims;
        let stats = q.empty_like([b, h, t, 2], DType::F32);
        self.dots.run(&[output, grad, lse, &stats]);
        let to_q = wanted[0].then(|| {
            let dq = q.empty_like([b, t, h, qk], DType::F32);
            self.queries.run(&[q, k, v, visible, grad, &stats, &dq]);
            dq
        });
        let to_keys = wanted[1].then(|| {
            let both = q.empty_like([b * t * h * (qk + width)], DType::F32);
            self.keys.run(&[q, k, v, visible, grad, &stats, &both]);
            both
        });
        [to_q, to_keys]
    }
}

/// Attention of one call: its launches with what its tokens see.
#[derive(Debug)]
struct Streamed {
    passes: Arc<Passes>,
    visible: Array,
}

impl Function for Streamed {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let [q, k, v] = [0, 1, 2].map(|input: usize| inputs[input].clone());
        self.passes.attend(q, k, v, &self.visible)
    }

    fn backward(&self, saved: &[Array], grad: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let [to_q, both] = self.passes.differentiate(saved, &grad, &self.visible, [wanted[0], wanted[1] || wanted[2]]);
        let [b, t, h, qk, width] = self.passes.dims;
        let rows = b * t * h;
        let part = |first: usize, dim: usize| {
            let values = both.clone()?.into_tensor::<1>().narrow(0, first, rows * dim);
            Array::from_float(values.reshape([b, t, h, dim]))
        };
        vec![to_q, part(0, qk), part(rows * qk, width)]
    }
}
