// Rotates the queries and appends a token's latent row, and its index key, to the caches.
//
// Grid: UNITS workgroups for each token; workgroup u of a token takes, in this order: 8 components of 256 query heads' parts each
// (QUERY_GROUPS workgroups, none where attention/mla_query takes the queries), the latent row (one), and what INDEX_UNITS adds.
// A workgroup has one thing to wait for before its sums and nothing after: gains, angles and rows are read along with the values.
// Requires: nothing beyond the base tier; C, R, Dn divisible by 8, 4-word alignment of `queries`.
// Numerics: f32; sums in a fixed order; narrow formats round to nearest even.
// Prelude: rotated.wgsl, narrow.wgsl, the sum over a workgroup; the fragments of the queries and of the indexer.

struct Params {
    // Tokens T.
    t: u32,
    // Words from one token to the next in `queries`, and where head 0 starts.
    q_stride: u32,
    q_offset: u32,
    // Words from one token to the next in `projections`, and where the latent starts.
    p_stride: u32,
    kv_offset: u32,
    // Where index head 0 starts in `queries`.
    index_q_offset: u32,
    // Where the index key and the head weights start in `projections`.
    index_k_offset: u32,
    index_w_offset: u32,
    // Added to the mean square of the latent and to the variance of the index key.
    eps: f32,
    index_eps: f32,
    // Constant of the head weights.
    w_scale: f32,
}

@group(0) @binding(NORMS) var<storage, read> norms: array<vec4<f32>>; // (C + 2·Di) f32: weight of the latent, weight and bias of the key
@group(0) @binding(STEP) var<storage, read> step: array<vec4<u32>>; // (T, R/4 + 1) f32 bits, and in the last vector the row
@group(0) @binding(CACHE) var<storage, read_write> cache: array<u32>; // (rows, LATENT_WORDS) words
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const UNITS = QUERY_GROUPS + 1u + INDEX_UNITS;
const FP8_TILE_LANES = 16u;

var<workgroup> sh_lane: array<f32, WG_SIZE>;

fn largest(v: Eight) -> f32 {
    let m = max(abs(v.a), abs(v.b));
    return max(max(m.x, m.y), max(m.z, m.w));
}

fn sum_of(v: Eight) -> f32 {
    let s = v.a + v.b;
    return (s.x + s.y) + (s.z + s.w);
}

fn projection4(at: u32) -> vec4<f32> {
    return vec4<f32>(projections[at], projections[at + 1u], projections[at + 2u], projections[at + 3u]);
}

// The largest value of the aligned group of `lanes` invocations, a power of two.
fn group_max(value: f32, lid: u32, lanes: u32) -> f32 {
    var most = value;
    for (var s = 1u; s < lanes; s *= 2u) {
        sh_lane[lid] = most;
        workgroupBarrier();
        most = max(most, sh_lane[lid ^ s]);
        workgroupBarrier();
    }
    return most;
}

// The row of token t in the caches, or 0xFFFFFFFF.
fn row_of(t: u32) -> u32 {
    return step[t * STEP_VECTORS + ROPE / 4u].x;
}

fn latent(t: u32, at: Lane) {
    let lanes = LATENT / 8u;
    let is_latent = at.lid < lanes;
    let is_key = at.lid >= lanes && at.lid < lanes + ROPE_LANES;
    let row = row_of(t);
    let source = t * params.p_stride + params.kv_offset;
    let components = select(spots(at.lid - lanes, HALF_SPLIT) + LATENT, vec2<u32>(at.lid * 8u, at.lid * 8u + 4u), is_latent);
    var v = Eight();
    if is_latent || is_key {
        v = Eight(projection4(source + components.x), projection4(source + components.y));
    }
    var gain = Eight();
    if is_latent {
        gain = Eight(norms[at.lid * 2u], norms[at.lid * 2u + 1u]);
    }
    var by = Angles();
    if is_key {
        by = angles(t, at.lid - lanes);
    }
    let squares = select(0.0, sum_of(Eight(v.a * v.a, v.b * v.b)), is_latent);
    let sum = workgroup_sum(squares, at.lid, lane_of(at), lanes_of(at));
    if is_latent {
        let scale = inverseSqrt(sum / f32(LATENT) + params.eps);
        v = Eight(gain.a * (v.a * scale), gain.b * (v.b * scale));
    } else {
        v = rotated(v, by, HALF_SPLIT);
    }
    var amax = 0.0;
    if LATENT_FORMAT == FP8 {
        amax = group_max(largest(v), at.lid, FP8_TILE_LANES);
    }
    if row == 0xFFFFFFFFu || !(is_latent || is_key) {
        return;
    }
    let start = row * LATENT_WORDS;
    if LATENT_FORMAT != FP8 {
        store(start, components.x, v.a);
        store(start, components.y, v.b);
    } else if is_latent {
        let exponent = ue8m0_exponent(amax);
        let inverse = power_of_two(-exponent);
        cache[start + at.lid * 2u] = pack_e4m3(v.a * inverse);
        cache[start + at.lid * 2u + 1u] = pack_e4m3(v.b * inverse);
        if at.lid % FP8_TILE_LANES == 0u {
            cache[start + LATENT / 4u + at.lid / FP8_TILE_LANES] = bitcast<u32>(power_of_two(exponent));
        }
    } else {
        let keys = start + LATENT / 4u + LATENT / 128u;
        let key_at = components - LATENT;
        cache[keys + key_at.x / 2u] = pack_bf16(v.a.x, v.a.y);
        cache[keys + key_at.x / 2u + 1u] = pack_bf16(v.a.z, v.a.w);
        cache[keys + key_at.y / 2u] = pack_bf16(v.b.x, v.b.y);
        cache[keys + key_at.y / 2u + 1u] = pack_bf16(v.b.z, v.b.w);
    }
}

// Four components of a row that is not FP8.
fn store(start: u32, component: u32, v: vec4<f32>) {
    if LATENT_FORMAT == F16 {
        cache[start + component / 2u] = pack_f16(v.x, v.y);
        cache[start + component / 2u + 1u] = pack_f16(v.z, v.w);
    } else {
        for (var i = 0u; i < 4u; i += 1u) {
            cache[start + component + i] = bitcast<u32>(v[i]);
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let group = wid.y * grid.x + wid.x;
    let t = group / UNITS;
    let unit = group % UNITS;
    if t >= params.t {
        return;
    }
    if unit < QUERY_GROUPS {
        query(t, unit * WG_SIZE + at.lid);
    } else if unit == QUERY_GROUPS {
        latent(t, at);
    } else {
        index(t, unit - QUERY_GROUPS - 1u, at);
    }
}
