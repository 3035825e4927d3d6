// Queries, keys and values of each head from the products that hold them: the last DR of a query and the key that all heads share are rotated.
//
// Grid: a workgroup for each token, see `grid` of the host.
// Requires: nothing beyond the base tier.
// Numerics: f32; what pads a row to QK or V is zero.

@group(0) @binding(0) var<storage, read> q_rows: array<f32>; // (N, H, DN + DR) f32
@group(0) @binding(1) var<storage, read> kv_rows: array<f32>; // (N, H, DN + DV) f32
@group(0) @binding(2) var<storage, read> key_rows: array<f32>; // (N, DR) f32
@group(0) @binding(3) var<storage, read> turns: array<vec2<f32>>; // (T, DR / 2) f32, cosine and sine
@group(0) @binding(4) var<storage, read_write> q: array<f32>; // (N, H, QK) f32
@group(0) @binding(5) var<storage, read_write> k: array<f32>; // (N, H, QK) f32
@group(0) @binding(6) var<storage, read_write> v: array<f32>; // (N, H, V) f32
@group(0) @binding(7) var<storage, read> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let token = wid.y * grid.x + wid.x;
    if token >= params.n {
        return;
    }
    let turn = (token % params.t) * (DR / 2u);
    for (var e = lid; e < H * QK; e += WG_SIZE) {
        let head = token * H + e / QK;
        let c = e % QK;
        var query = 0.0;
        var key = 0.0;
        if c < DN {
            query = q_rows[head * (DN + DR) + c];
            key = kv_rows[head * (DN + DV) + c];
        } else if c < DN + DR {
            let pair = pair_of(c - DN);
            let by = turns[turn + pair.idx];
            let from_query = head * (DN + DR) + DN;
            query = q_rows[from_query + c - DN] * by.x + pair.sign * q_rows[from_query + pair.other] * by.y;
            key = key_rows[token * DR + c - DN] * by.x + pair.sign * key_rows[token * DR + pair.other] * by.y;
        }
        q[token * H * QK + e] = query;
        k[token * H * QK + e] = key;
    }
    for (var e = lid; e < H * V; e += WG_SIZE) {
        let c = e % V;
        let source = (token * H + e / V) * (DN + DV) + DN + min(c, DV - 1u);
        v[token * H * V + e] = select(0.0, kv_rows[source], c < DV);
    }
}
