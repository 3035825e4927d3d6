//! The attention of a layer.

use super::{FEW, Recorder, Rows, StepShape, own_indexer};
use crate::architecture::{Architecture, Selection};
use crate::cache::{CacheFormats, LayerCache};
use crate::terms::layout;
use crate::weights::Layer;
use crate::workspace::Queries;
use sferic_shaders::attention::mla_decode::{LatentFormat, MlaDecode, Sizes, Slots};
use sferic_shaders::attention::mla_prefill::{self, MlaPrefill};
use sferic_shaders::attention::mla_query::{self, MlaQuery};
use sferic_shaders::attention::mla_value::{self, MlaValue};
use sferic_shaders::indexer::index_scores;
use sferic_shaders::kernel::{Capabilities, KernelError};
use sferic_shaders::rope::append::{self, Append, Format};
use sferic_shaders::shared::Lanes;

impl<'a> Recorder<'a> {
    /// Returns the number of launches up to the selection.
    ///
    /// Products that do not need each other stand side by side, and so do the absorbed queries of one token and its selection: the device runs
    /// neighbours at the same time where neither writes what has been used before, see [`Workspace::single`].
    pub(super) fn attention(
        &mut self,
        layer: &'a Layer,
        cache: &'a LayerCache,
        queries: &'a Queries,
        shape: StepShape,
    ) -> Result<usize, KernelError> {
        let (a, w, rows) = (self.architecture, self.workspace, shape.rows);
        let (input, norm) = self.input(rows, &layer.input_norm)?;
        let p = layer.projections;
        let projections = Rows::dense(&w.projections, p.stride as usize);
        self.product(rows, &layer.down, input, projections, norm, false)?;
        if let Some(matrix) = &layer.index_weights {
            self.product(rows, matrix, input, Rows { offset: p.index_w as usize, ..projections }, norm, false)?;
        }
        let projected = Rows::dense(&queries.projected, (layer.queries.o as usize).next_multiple_of(4));
        match (&layer.query_norm, a.q_rank) {
            (Some(gain), Some(rank)) => {
                let latent = self.normed(rows, projections, rank, gain, a.latent_norm_eps, &w.query_latent)?;
                self.product(rows, &layer.queries, latent.0, projected, latent.1, false)?;
            }
            _ => self.product(rows, &layer.queries, input, projected, norm, false)?,
        }
        self.append(layer, cache, queries, rows)?;
        if rows > 1 {
            let nope = Rows { batch: a.d_query(), ..projected };
            let full = Rows { batch: a.d_latent(), ..Rows::dense(&queries.full, a.n_heads * a.d_latent()) };
            self.product(rows, &layer.absorb, nope, full, None, false)?;
        }
        self.select(layer, cache, queries, shape)?;
        let selected = self.tasks.len();
        if rows == 1 {
            self.absorb(layer, queries)?;
        }
        self.attend(layer, cache, queries, shape)?;
        let o = Rows::dense(&w.o, a.n_heads * a.d_value);
        self.product(rows, &layer.output, o, Rows::dense(&w.h, a.d_model), None, true)?;
        Ok(selected)
    }

    /// Absorbs and rotates the query of one token.
    fn absorb(&mut self, layer: &'a Layer, queries: &'a Queries) -> Result<(), KernelError> {
        let a = self.architecture;
        let [nope, latent, rope] = [a.d_nope, a.kv_rank, a.d_rope].map(|width| width as u32);
        let spec = MlaQuery::best(layer.absorb.format, nope, latent, rope, layout(a.rope_layout));
        let params = mla_query::Params { heads: a.n_heads as u32, q_stride: layer.queries.o.next_multiple_of(4), q_offset: 0 };
        let launch = spec.launch(1, params, self.device)?;
        let buffers = self.with_matrix(&[&queries.projected, &self.workspace.step], &layer.absorb, &[&queries.full]);
        self.push(launch, &buffers);
        Ok(())
    }

    fn append(&mut self, layer: &'a Layer, cache: &'a LayerCache, queries: &'a Queries, rows: usize) -> Result<(), KernelError> {
        let (a, w, p) = (self.architecture, self.workspace, layer.projections);
        let index = own_indexer(a, layer).map(|indexer| append::Index {
            heads: indexer.n_heads as u32,
            dim: indexer.d_head as u32,
            layout: layout(indexer.layout),
            format: self.formats.index,
            hadamard: self.hadamard,
        });
        let spec = Append {
            lanes: Lanes::of(self.device.features),
            heads: if rows == 1 { 0 } else { a.n_heads as u32 },
            nope: a.d_nope as u32,
            latent: a.kv_rank as u32,
            rope: a.d_rope as u32,
            layout: layout(a.rope_layout),
            format: self.formats.latent,
            index,
        };
        let scale = own_indexer(a, layer).map_or(1.0, |indexer| index_scores::weight_scale(indexer.n_heads, indexer.d_head));
        let params = append::Params {
            t: rows as u32,
            q_stride: layer.queries.o.next_multiple_of(4),
            q_offset: 0,
            p_stride: p.stride,
            kv_offset: p.kv,
            index_q_offset: if index.is_some() { (a.n_heads * a.d_query()) as u32 } else { 0 },
            index_k_offset: p.index_k,
            index_w_offset: p.index_w,
            eps: a.latent_norm_eps as f32,
            index_eps: a.indexer.as_ref().map_or(0.0, |indexer| indexer.k_norm_eps as f32),
            w_scale: scale as f32,
        };
        let launch = spec.launch(params, self.device)?;
        let mut buffers = vec![&w.projections];
        buffers.extend((spec.heads > 0 || index.is_some()).then_some(&queries.projected));
        buffers.extend([&layer.norms, &w.step]);
        buffers.extend((spec.heads > 0).then_some(&queries.full));
        buffers.push(&cache.latent);
        buffers.extend(index.map(|_| &cache.index));
        self.push(launch, &buffers);
        Ok(())
    }

    /// Attends, and turns the sums of latents into values.
    fn attend(
        &mut self,
        layer: &'a Layer,
        cache: &'a LayerCache,
        queries: &'a Queries,
        shape: StepShape,
    ) -> Result<(), KernelError> {
        let (a, w) = (self.architecture, self.workspace);
        let slots = if shape.sparse && layer.kind.selection != Selection::All { Slots::Selected } else { Slots::Dense };
        let ports = self.ports;
        let (spec, sizes) = mla(self.architecture, self.formats, slots, shape.rows, shape.bucket, self.device);
        let sizes = Sizes { table_stride: ports.table_stride as u32, ..sizes };
        let which = if slots == Slots::Selected { &w.selected } else { &ports.positions };
        if shape.rows > FEW && ports.of_prompts {
            let MlaDecode { c, r, format, .. } = spec;
            let Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, table_stride, scale, .. } = sizes;
            let sizes = mla_prefill::Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, table_stride, scale };
            let launch = MlaPrefill::best(c, r, h, format, slots, self.device).launch(&sizes, self.device)?;
            self.push(launch, &[&queries.full, &cache.latent, &ports.block_table, which, &w.u]);
            let u = Rows { batch: a.kv_rank, ..Rows::dense(&w.u, a.n_heads * a.kv_rank) };
            let o = Rows { batch: a.d_value, ..Rows::dense(&w.o, a.n_heads * a.d_value) };
            return self.product(shape.rows, &layer.value, u, o, None, false);
        }
        let [partial, _] = spec.launch(&sizes, self.device)?;
        self.push(partial, &[&queries.full, &cache.latent, &ports.block_table, which, &ports.partials, &ports.stats]);
        let output = mla_value::Output { v: a.d_value as u32, stride: (a.n_heads * a.d_value) as u32, offset: 0 };
        let value = MlaValue::best(spec.c, layer.value.format, sizes.t, sizes.h);
        let launch = value.launch(spec, &sizes, output, self.device)?;
        let buffers = self.with_matrix(&[&ports.partials, &ports.stats], &layer.value, &[&w.o]);
        self.push(launch, &buffers);
        Ok(())
    }
}

/// The attention kernel for a step, and its sizes.
pub(super) fn mla(
    a: &Architecture,
    formats: CacheFormats,
    slots: Slots,
    rows: usize,
    bucket: usize,
    device: &Capabilities,
) -> (MlaDecode, Sizes) {
    let (c, r, h, t) = (a.kv_rank as u32, a.d_rope as u32, a.n_heads as u32, rows as u32);
    let format = match formats.latent {
        Format::F32 => LatentFormat::F32,
        Format::F16 => LatentFormat::F16,
        Format::Fp8 => LatentFormat::Fp8,
    };
    let n_slots = match (slots, &a.indexer) {
        (Slots::Selected, Some(indexer)) => indexer.top_k as u32,
        _ => bucket as u32,
    };
    let spec = MlaDecode::best(c, r, h, format, slots, device).in_one_step(t, h, n_slots, device);
    let sizes = Sizes {
        t,
        h,
        q_stride: h * (c + r),
        q_offset: 0,
        u_stride: h * c,
        u_offset: 0,
        n_slots,
        n_splits: spec.splits(t, h, n_slots),
        table_stride: 0,
        scale: a.softmax_scale as f32,
    };
    (spec, sizes)
}
