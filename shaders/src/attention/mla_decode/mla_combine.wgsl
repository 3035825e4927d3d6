// u[t, h] = Σ_splits 2^(m - M) · a / Σ_splits 2^(m - M) · l, with M the largest m; zeros where every split is empty.
//
// Grid: workgroup (wid.x, wid.y, wid.z) takes a head of a query and one of PARTS shares of its columns. Invocations are GROUPS × COLUMNS: a
// group takes every GROUPS-th split and each of its invocations four columns; the groups are added through workgroup memory.
// Requires: nothing beyond the base tier; C a multiple of 4 · PARTS, C / PARTS at most 4 · WG_SIZE; at most MAX_SPLITS = WG_SIZE splits; empty
// splits only after others.
// Numerics: f32, in a fixed order.

struct Params {
    h: u32,
    n_splits: u32,
    padded_heads: u32,
    u_stride: u32,
    u_offset: u32,
}

@group(0) @binding(2) var<storage, read_write> u: array<vec4<f32>>; // (T, H, C) f32 in rows of u_stride
@group(0) @binding(3) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let h = wid.x;
    let t = wid.y;
    let value = combine_splits(lid, t, h, wid.z);
    if lid < COLUMNS {
        u[(t * params.u_stride + params.u_offset + h * LATENT) / 4u + wid.z * COLUMNS + lid] = value;
    }
}
