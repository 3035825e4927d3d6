// The gradients of `heads`: rotations back, and a sum over the heads for the key that they share.
//
// Grid: a workgroup for each token, see `grid` of the host.
// Requires: nothing beyond the base tier.
// Numerics: f32, the sum in the order of the heads.

@group(0) @binding(0) var<storage, read> dq: array<f32>; // (N, H, QK) f32
@group(0) @binding(1) var<storage, read> dkv: array<f32>; // (N, H, QK) f32, then (N, H, V) f32
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>; // (T, DR / 2) f32, cosine and sine
@group(0) @binding(3) var<storage, read_write> dq_rows: array<f32>; // (N, H, DN + DR) f32
@group(0) @binding(4) var<storage, read_write> dkv_rows: array<f32>; // (N, H, DN + DV) f32
@group(0) @binding(5) var<storage, read_write> dkey_rows: array<f32>; // (N, DR) f32
@group(0) @binding(6) var<storage, read> params: Params;

// The sum over the heads of component r of the shared key's gradient.
fn shared_key(token: u32, r: u32) -> f32 {
    var sum = 0.0;
    for (var h = 0u; h < H; h += 1u) {
        sum += dkv[(token * H + h) * QK + DN + r];
    }
    return sum;
}

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
    for (var e = lid; e < H * (DN + DR); e += WG_SIZE) {
        let head = (token * H + e / (DN + DR)) * QK;
        let c = e % (DN + DR);
        var query = dq[head + c];
        if c >= DN {
            let pair = pair_of(c - DN);
            let by = turns[turn + pair.idx];
            query = query * by.x - pair.sign * dq[head + DN + pair.other] * by.y;
        }
        dq_rows[token * H * (DN + DR) + e] = query;
    }
    let values = params.n * H * QK;
    for (var e = lid; e < H * (DN + DV); e += WG_SIZE) {
        let head = token * H + e / (DN + DV);
        let c = e % (DN + DV);
        let source = select(head * QK + c, values + head * V + c - DN, c >= DN);
        dkv_rows[token * H * (DN + DV) + e] = dkv[source];
    }
    for (var r = lid; r < DR; r += WG_SIZE) {
        let pair = pair_of(r);
        let by = turns[turn + pair.idx];
        dkey_rows[token * DR + r] = shared_key(token, r) * by.x - pair.sign * shared_key(token, pair.other) * by.y;
    }
}
