//! Attention from the products that hold queries, keys and values side by side, with the rotation between.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use sferic_shaders::kernel::{Capabilities, KernelError};
use sferic_shaders::rope::rotate::Layout;
use sferic_shaders::train::heads::{Heads, Pass};
use sferic_shaders::train::{Sizes, Widths};

use super::attention::{Attended, Key, Passes, UNIT, Visible};
use crate::kernels::{Array, Cache, Forward, Function, Kernel, apply, capabilities};
use crate::rope::{RopeLayout, Rotation};

/// The products that attention starts from, before any rotation.
#[derive(Clone, Debug)]
pub struct Rows {
    /// `[q^C_h | q^R_h]` of each head: `[B, T, H · (Dn + Dr)]` f32
    pub q: Tensor<3>,
    /// `[k^C_h | v_h]` of each head: `[B, T, H · (Dn + Dv)]` f32
    pub kv: Tensor<3>,
    /// `k^R`, which all heads share: `[B, T, Dr]` f32
    pub key: Tensor<3>,
}

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Heads `H`.
    pub n_heads: usize,
    /// Width `Dn` of a query or key that is not rotated.
    pub d_nope: usize,
    /// Width `Dv` of a value.
    pub d_value: usize,
    /// Factor on scores.
    pub scale: f64,
    /// Which components form the pairs of the rotation.
    pub layout: RopeLayout,
}

/// Returns the attention of whole sequences, or nothing where the stock form is to be taken.
///
/// # Shapes
/// - rotation: of the positions `0 .. T`
/// - returns: output `[B, T, H, Dv]`
pub fn latent_attention(rows: &Rows, rotation: &Rotation, block: &Block, visible: &Visible) -> Option<Attended> {
    let device = capabilities(&rows.q.device())?;
    if [&rows.q, &rows.kv, &rows.key].iter().any(|rows| rows.dtype() != DType::F32) {
        return None;
    }
    let [n_batch, n_tokens, d_rope] = rows.key.dims();
    let padded = |width: usize| u32::try_from(width.next_multiple_of(UNIT)).ok();
    let widths = Widths { qk: padded(block.d_nope + d_rope)?, v: padded(block.d_value)? };
    let [b, t, h, dn, dr, dv] =
        [n_batch, n_tokens, block.n_heads, block.d_nope, d_rope, block.d_value].map(|n| u32::try_from(n).ok());
    let sizes = Sizes { b: b?, t: t?, h: h?, scale: block.scale as f32 };
    let layout = match block.layout {
        RopeLayout::Interleaved => Layout::Interleaved,
        RopeLayout::HalfSplit => Layout::HalfSplit,
    };
    let heads = Heads { n_heads: h?, d_nope: dn?, d_rope: dr?, d_value: dv?, widths, layout };
    let turned = Turned::of(heads, [sizes.b * sizes.t, sizes.t], &device).ok()?;
    let passes = Passes::of(Key::new(widths, visible.kind(), &sizes, &device), &device).ok()?;
    let seen = visible.array([n_batch, n_tokens], &rows.q.device())?;
    let turns = Array::from_float(rotation.turns())?;
    let function = Latent { turned, passes, visible: seen.clone(), turns };
    let applied = apply::<4>([rows.q.clone().into(), rows.kv.clone().into(), rows.key.clone().into()], Arc::new(function))?;
    let [q, k, _, _, lse] = <[Array; 5]>::try_from(applied.saved).ok()?;
    let output = applied.output.narrow(3, 0, block.d_value);
    Some(Attended { output, q, k, lse, visible: seen, kind: visible.kind(), sizes, device })
}

/// The launches that lay out heads and their gradients.
#[derive(Debug)]
struct Turned {
    forward: Kernel,
    backward: Kernel,
    /// Shapes of the three inputs.
    rows: [[usize; 3]; 3],
}

impl Turned {
    fn of(heads: Heads, [n, t]: [u32; 2], device: &Capabilities) -> Result<Arc<Self>, KernelError> {
        static TURNED: Cache<(Heads, [u32; 2]), Turned> = Cache::new();
        TURNED.get((heads, [n, t]), |_| {
            let launch = |pass| heads.launch(pass, n, t, device).map(Kernel::new);
            let Heads { n_heads, d_nope, d_rope, d_value, .. } = heads;
            let widths = [n_heads * (d_nope + d_rope), n_heads * (d_nope + d_value), d_rope];
            let rows = widths.map(|width| [n / t, t, width].map(|n| n as usize));
            Ok(Self { forward: launch(Pass::Forward)?, backward: launch(Pass::Backward)?, rows })
        })
    }
}

/// Attention of one call: its launches, what its tokens see, and cosines and sines.
#[derive(Debug)]
struct Latent {
    turned: Arc<Turned>,
    passes: Arc<Passes>,
    visible: Array,
    turns: Array,
}

impl Function for Latent {
    fn forward(&self, inputs: &[Array]) -> Forward {
        let (rows, kv_rows, key_rows) = (&inputs[0], &inputs[1], &inputs[2]);
        let [b, t, h, qk, width] = self.passes.dims;
        let [q, k] = [0, 1].map(|_| rows.empty_like([b, t, h, qk], DType::F32));
        let v = rows.empty_like([b, t, h, width], DType::F32);
        self.turned.forward.run(&[rows, kv_rows, key_rows, &self.turns, &q, &k, &v]);
        self.passes.attend(q, k, v, &self.visible)
    }

    fn backward(&self, saved: &[Array], grad: Array, _wanted: &[bool]) -> Vec<Option<Array>> {
        let [Some(dq), Some(dkv)] = self.passes.differentiate(saved, &grad, &self.visible, [true, true]) else {
            return Vec::new();
        };
        let rows = self.turned.rows.map(|dims| grad.empty_like(dims, DType::F32));
        let [q, kv, key] = &rows;
        self.turned.backward.run(&[&dq, &dkv, &self.turns, q, kv, key]);
        rows.map(Some).into()
    }
}
