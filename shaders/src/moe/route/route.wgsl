// Chooses the experts of each token and weighs them; S shared experts follow with weight 1. See choose.wgsl.
//
// Grid: workgroup wid.x takes token wid.x.
// Requires: nothing beyond the base tier.

struct Params {
    t: u32,
    logits_stride: u32,
    logits_offset: u32,
    scale: f32,
}

@group(0) @binding(PARAMS) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    bring_logits(lid, wid.x);
    choose(lid, wid.x, true);
}
