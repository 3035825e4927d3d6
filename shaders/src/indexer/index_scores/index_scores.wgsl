// scores[t, s] = Σ_h w[t, h] · max(0, q[t, h] · k[s]) for s ≤ positions[t], in f32 on every adapter.
//
// Grid: workgroup (x, y) takes QUERIES query rows from x and 128 keys from y; it returns at once when all of its queries end before its keys.
// A workgroup multiplies 64 rows (one head of one query each; more than 64 heads take several rounds) with its keys, 16 dimensions at a time through
//   workgroup memory. Its 32 × 8 invocations hold 4 keys × 8 rows each, cut negative products off, and sum their rows with the head weights; the sums
//   of the rows of a query meet in workgroup memory.
// Requires: nothing beyond the base tier; DIM % 16 = 0.
// Numerics: products and sums in f32, in a fixed order; keys of every format expand exactly.

struct Params {
    t: u32,
    s: u32,
    q_stride: u32,
    q_offset: u32,
    w_stride: u32,
    w_offset: u32,
    scores_stride: u32,
    // Entries from the block table of a query to that of the next; 0 where all have one. Else a workgroup takes one query.
    table_stride: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (T, q_stride / 4) f32
@group(0) @binding(1) var<storage, read> weights: array<f32>; // (T, w_stride) f32
@group(0) @binding(2) var<storage, read> keys: array<vec4<u32>>; // (pages · 64, Di) f32 or f16, or planar pages of e4m3 with f32 scales
@group(0) @binding(3) var<storage, read> block_table: array<u32>; // (ceil(S / 64)), or (T, table_stride) u32
@group(0) @binding(4) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(5) var<storage, read_write> scores: array<f32>; // (T, scores_stride) f32
@group(0) @binding(6) var<storage, read> params: Params;

const WG_SIZE: u32 = 256u;
const KEYS: u32 = 128u;
// Heads of a query are padded to a power of two of at least one invocation's 8 rows; more than 64 come in rounds.
const QUERIES: u32 = 64u / min(HEADS_PADDED, 64u);
// 16 values as vectors of four, and one vector that spreads rows over the banks.
const ROW: u32 = 5u;

var<workgroup> sh_queries: array<vec4<f32>, 64u * ROW>;
var<workgroup> sh_keys: array<vec4<f32>, KEYS * ROW>;

// Where the block table of this workgroup's queries starts.
var<private> table: u32;

// Page of key `s`, no further than the last one that a query of this workgroup sees.
fn page_of(s: u32, last: u32) -> u32 {
    return block_table[table + min(s, last) / 64u];
}

fn stage_queries(t0: u32, h0: u32, k: u32, lid: u32) {
    let row = lid / 4u;
    let t = t0 + row / HEADS_PADDED;
    let h = h0 + row % HEADS_PADDED;
    var value = vec4<f32>(0.0);
    if t < params.t && h < HEADS {
        value = q[(params.q_offset + t * params.q_stride + h * DIM + k) / 4u + lid % 4u];
    }
    sh_queries[row * ROW + lid % 4u] = value;
}

fn dots(query: vec4<f32>, k0: vec4<f32>, k1: vec4<f32>, k2: vec4<f32>, k3: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(dot(query, k0), dot(query, k1), dot(query, k2), dot(query, k3));
}

// Products of the four keys from `x`, 32 apart, with the eight rows from 8 · `y`, cut off, weighted and summed.
fn weighted(t0: u32, s0: u32, h0: u32, last: u32, lid: u32) -> vec4<f32> {
    let x = lid % 32u;
    let y = lid / 32u;
    var a0 = vec4<f32>(0.0);
    var a1 = a0;
    var a2 = a0;
    var a3 = a0;
    var a4 = a0;
    var a5 = a0;
    var a6 = a0;
    var a7 = a0;
    for (var k = 0u; k < DIM; k += 16u) {
        workgroupBarrier();
        stage_queries(t0, h0, k, lid);
        stage_keys(s0, last, k, lid);
        workgroupBarrier();
        // With one query, its heads may be fewer than the rows.
        for (var d = select(4u, 0u, h0 + y * 8u % HEADS_PADDED < HEADS); d < 4u; d += 1u) {
            let k0 = sh_keys[x * ROW + d];
            let k1 = sh_keys[(x + 32u) * ROW + d];
            let k2 = sh_keys[(x + 64u) * ROW + d];
            let k3 = sh_keys[(x + 96u) * ROW + d];
            let row = y * 8u * ROW + d;
            a0 += dots(sh_queries[row], k0, k1, k2, k3);
            a1 += dots(sh_queries[row + ROW], k0, k1, k2, k3);
            a2 += dots(sh_queries[row + 2u * ROW], k0, k1, k2, k3);
            a3 += dots(sh_queries[row + 3u * ROW], k0, k1, k2, k3);
            a4 += dots(sh_queries[row + 4u * ROW], k0, k1, k2, k3);
            a5 += dots(sh_queries[row + 5u * ROW], k0, k1, k2, k3);
            a6 += dots(sh_queries[row + 6u * ROW], k0, k1, k2, k3);
            a7 += dots(sh_queries[row + 7u * ROW], k0, k1, k2, k3);
        }
    }
    let t = t0 + y * 8u / HEADS_PADDED;
    let h = h0 + y * 8u % HEADS_PADDED;
    var sum = vec4<f32>(0.0);
    sum += weight_of(t, h) * max(a0, vec4<f32>(0.0));
    sum += weight_of(t, h + 1u) * max(a1, vec4<f32>(0.0));
    sum += weight_of(t, h + 2u) * max(a2, vec4<f32>(0.0));
    sum += weight_of(t, h + 3u) * max(a3, vec4<f32>(0.0));
    sum += weight_of(t, h + 4u) * max(a4, vec4<f32>(0.0));
    sum += weight_of(t, h + 5u) * max(a5, vec4<f32>(0.0));
    sum += weight_of(t, h + 6u) * max(a6, vec4<f32>(0.0));
    sum += weight_of(t, h + 7u) * max(a7, vec4<f32>(0.0));
    return sum;
}

fn weight_of(t: u32, h: u32) -> f32 {
    if t < params.t && h < HEADS {
        return weights[params.w_offset + t * params.w_stride + h];
    }
    return 0.0;
}

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let t0 = wid.x * QUERIES;
    let s0 = wid.y * KEYS;
    table = t0 * params.table_stride;
    var last = 0u;
    for (var i = t0; i < min(t0 + QUERIES, params.t); i += 1u) {
        last = max(last, positions[i]);
    }
    last = min(last, params.s - 1u);
    if s0 > last {
        return;
    }
    var sum = vec4<f32>(0.0);
    for (var h0 = 0u; h0 < HEADS; h0 += min(HEADS_PADDED, 64u)) {
        sum += weighted(t0, s0, h0, last, lid);
    }
    workgroupBarrier();
    sh_keys[lid] = sum;
    workgroupBarrier();
    for (var i = lid; i < QUERIES * KEYS; i += WG_SIZE) {
        let t = t0 + i / KEYS;
        let key = i % KEYS;
        let s = s0 + key;
        var score = 0.0;
        for (var y = i / KEYS * (8u / QUERIES); y < (i / KEYS + 1u) * (8u / QUERIES); y += 1u) {
            score += sh_keys[y * 32u + key % 32u][key / 32u];
        }
        if t < params.t {
            if s <= min(positions[t], last) {
                scores[t * params.scores_stride + s] = score * key_scale(s, last);
            }
        }
    }
}
