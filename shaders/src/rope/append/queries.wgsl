// The rotated parts of the query heads. Needs HEADS and the binding `queries`.

@group(0) @binding(QFULL) var<storage, read_write> qfull: array<vec4<f32>>; // (T, H, C + R) f32

const QUERY_LANES = HEADS * ROPE_LANES;
const QUERY_GROUPS = (QUERY_LANES + WG_SIZE - 1u) / WG_SIZE;

fn query(t: u32, unit: u32) {
    if unit >= QUERY_LANES {
        return;
    }
    let head = unit / ROPE_LANES;
    let lane = unit % ROPE_LANES;
    let at = spots(lane, HALF_SPLIT);
    let source = t * params.q_stride + params.q_offset + head * (NOPE + ROPE) + NOPE;
    let values = Eight(queries[(source + at.x) / 4u], queries[(source + at.y) / 4u]);
    let v = rotated(values, angles(t, lane), HALF_SPLIT);
    let to = (t * HEADS + head) * (LATENT + ROPE) + LATENT;
    qfull[(to + at.x) / 4u] = v.a;
    qfull[(to + at.y) / 4u] = v.b;
}
