//! A model's numbers in the kernels' terms.

use crate::architecture::{RopeLayout, Routing};
use sferic_shaders::indexer::index_scores::KeyFormat;
use sferic_shaders::moe::route;
use sferic_shaders::rope::{append::Format, rotate::Layout};

pub(crate) fn rule(routing: &Routing) -> route::Rule {
    route::Rule {
        softmax: !routing.sigmoid,
        n_group: routing.n_groups,
        topk_group: routing.top_groups,
        n_summed: if routing.group_sum_of_two { 2 } else { 1 },
        n_active: routing.n_active,
        normalise: routing.normalise,
        scale: routing.scale,
    }
}

pub(crate) fn layout(layout: RopeLayout) -> Layout {
    match layout {
        RopeLayout::Interleaved => Layout::Interleaved,
        RopeLayout::Half => Layout::HalfSplit,
    }
}

pub(crate) fn key_format(format: Format) -> KeyFormat {
    match format {
        Format::F32 => KeyFormat::F32,
        Format::F16 => KeyFormat::F16,
        Format::Fp8 => KeyFormat::Fp8,
    }
}
