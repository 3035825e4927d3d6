// scores[t, s] = Σ_h w[t, h] · max(0, q[t, h] · k[s]) for s ≤ positions[t], on cooperative matrices.
//
// Grid: workgroup (x, y) takes GROUPS · QUERIES query rows from x and PAGES pages of 64 keys from y; it returns at once when all of its
//   queries end before its keys.
// Each subgroup holds 64 rows of A for its whole life, in registers: QUERIES queries of HEADS_PADDED heads, rounded to f16 and filled up with
//   zeros. Pages of keys are staged in workgroup memory as f16 and are B, 16 keys at a time. The product goes through workgroup memory, where each
//   lane takes one key, cuts negative products off and sums the heads with their weights.
// Requires: subgroups of LANES lanes, f16, cooperative matrices; HEADS ≤ 64, DIM = 32, 64 or 128.
// Numerics: q rounded to f16 (exact for queries that are e4m3 or f16 already), products and sums in f32; e4m3 keys expand to f16 exactly, times
//   2^-8, which their scale takes back.

struct Params {
    t: u32,
    s: u32,
    q_stride: u32,
    q_offset: u32,
    w_stride: u32,
    w_offset: u32,
    scores_stride: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (T, q_stride / 4) f32
@group(0) @binding(1) var<storage, read> weights: array<f32>; // (T, w_stride) f32
@group(0) @binding(2) var<storage, read> keys: array<KeyWord>; // (pages · 64, Di) f16, or planar pages of e4m3 with f32 scales
@group(0) @binding(3) var<storage, read> block_table: array<u32>; // (ceil(S / 64)) u32
@group(0) @binding(4) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(5) var<storage, read_write> scores: array<f32>; // (T, scores_stride) f32
@group(0) @binding(6) var<storage, read> params: Params;

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;

// 16 rows of A: one matrix for each 16 dimensions.
struct Strip {
    k0: MatA,
    k1: MatA,
    k2: MatA,
    k3: MatA,
    k4: MatA,
    k5: MatA,
    k6: MatA,
    k7: MatA,
}

const WG_SIZE: u32 = LANES * GROUPS * KEY_GROUPS;
const QUERIES: u32 = 64u / HEADS_PADDED;
// Strips of 16 rows that carry heads; the staging area takes as many of every group as fit its 64 rows.
const STRIPS: u32 = 4u;
const STRIPS_AT_ONCE: u32 = 4u / GROUPS;
// A row of 16-bit values, as vectors of four; the padding of 16 bytes spreads rows over the banks.
const ROW: u32 = DIM / 4u + 2u;
// A column of 64 products, as vectors of four, with the same padding.
const COLUMN: u32 = 17u;
// Keys of a page that one subgroup takes, 16 at a time.
const TILES: u32 = 4u / KEY_GROUPS;
// Lanes that share a key, and their rows, as vectors of four.
const PARTS: u32 = LANES / 16u;
const PART_ROWS: u32 = 16u / PARTS;
// Vectors of four rows that belong to one query, at most a part of them in one lane.
const QUERY_ROWS: u32 = min(HEADS_PADDED / 4u, PART_ROWS);

var<workgroup> sh_rows: array<vec4<f16>, 64u * ROW>;
var<workgroup> sh_products: array<vec4<f32>, GROUPS * KEY_GROUPS * 16u * COLUMN>;
var<workgroup> sh_weights: array<vec4<f32>, GROUPS * 16u>;
var<workgroup> sh_scales: array<vec4<f32>, 16u>;

fn tile_barrier() {
    if SUBGROUP_BARRIER {
        subgroupBarrier();
    } else {
        workgroupBarrier();
    }
}

fn load_strip(row: u32) -> Strip {
    var strip: Strip;
    strip.k0 = coopLoadT<MatA>(&sh_rows[row * ROW], ROW);
    strip.k1 = coopLoadT<MatA>(&sh_rows[row * ROW + 4u], ROW);
    if DIM > 32u {
        strip.k2 = coopLoadT<MatA>(&sh_rows[row * ROW + 8u], ROW);
        strip.k3 = coopLoadT<MatA>(&sh_rows[row * ROW + 12u], ROW);
    }
    if DIM > 64u {
        strip.k4 = coopLoadT<MatA>(&sh_rows[row * ROW + 16u], ROW);
        strip.k5 = coopLoadT<MatA>(&sh_rows[row * ROW + 20u], ROW);
        strip.k6 = coopLoadT<MatA>(&sh_rows[row * ROW + 24u], ROW);
        strip.k7 = coopLoadT<MatA>(&sh_rows[row * ROW + 28u], ROW);
    }
    return strip;
}

// Stages strips first .. first + STRIPS_AT_ONCE of every group: row (group, strip, i) of the staging area.
fn stage_queries(first: u32, t0: u32, lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < 64u * (DIM / 4u); i += WG_SIZE) {
        let row = i / (DIM / 4u);
        let d = i % (DIM / 4u);
        let group = row / (16u * STRIPS_AT_ONCE);
        let in_group = first * 16u + row % (16u * STRIPS_AT_ONCE);
        let t = t0 + group * QUERIES + in_group / HEADS_PADDED;
        let h = in_group % HEADS_PADDED;
        var value = vec4<f32>(0.0);
        if t < params.t && h < HEADS {
            value = q[(params.q_offset + t * params.q_stride) / 4u + h * (DIM / 4u) + d];
        }
        sh_rows[row * ROW + d] = vec4<f16>(select(value, value.xzyw, FP8));
    }
    workgroupBarrier();
}

fn stage_weights(t0: u32, lid: u32) {
    for (var i = lid; i < GROUPS * 64u; i += WG_SIZE) {
        let t = t0 + i / HEADS_PADDED;
        let h = i % HEADS_PADDED;
        var w = 0.0;
        if t < params.t && h < HEADS {
            w = weights[params.w_offset + t * params.w_stride + h];
        }
        sh_weights[i / 4u][i % 4u] = w;
    }
}

// The product of 64 rows with the 16 keys from `key` of the staged page, stored by columns: head after head of each key.
fn multiply(a0: Strip, a1: Strip, a2: Strip, a3: Strip, key: u32, out: u32) {
    var c0: MatC;
    var c1: MatC;
    var c2: MatC;
    var c3: MatC;
    var b = coopLoad<MatB>(&sh_rows[key * ROW], ROW);
    c0 = coopMultiplyAdd(a0.k0, b, c0);
    c1 = coopMultiplyAdd(a1.k0, b, c1);
    c2 = coopMultiplyAdd(a2.k0, b, c2);
    c3 = coopMultiplyAdd(a3.k0, b, c3);
    b = coopLoad<MatB>(&sh_rows[key * ROW + 4u], ROW);
    c0 = coopMultiplyAdd(a0.k1, b, c0);
    c1 = coopMultiplyAdd(a1.k1, b, c1);
    c2 = coopMultiplyAdd(a2.k1, b, c2);
    c3 = coopMultiplyAdd(a3.k1, b, c3);
    if DIM > 32u {
        b = coopLoad<MatB>(&sh_rows[key * ROW + 8u], ROW);
        c0 = coopMultiplyAdd(a0.k2, b, c0);
        c1 = coopMultiplyAdd(a1.k2, b, c1);
        c2 = coopMultiplyAdd(a2.k2, b, c2);
        c3 = coopMultiplyAdd(a3.k2, b, c3);
        b = coopLoad<MatB>(&sh_rows[key * ROW + 12u], ROW);
        c0 = coopMultiplyAdd(a0.k3, b, c0);
        c1 = coopMultiplyAdd(a1.k3, b, c1);
        c2 = coopMultiplyAdd(a2.k3, b, c2);
        c3 = coopMultiplyAdd(a3.k3, b, c3);
    }
    if DIM > 64u {
        b = coopLoad<MatB>(&sh_rows[key * ROW + 16u], ROW);
        c0 = coopMultiplyAdd(a0.k4, b, c0);
        c1 = coopMultiplyAdd(a1.k4, b, c1);
        c2 = coopMultiplyAdd(a2.k4, b, c2);
        c3 = coopMultiplyAdd(a3.k4, b, c3);
        b = coopLoad<MatB>(&sh_rows[key * ROW + 20u], ROW);
        c0 = coopMultiplyAdd(a0.k5, b, c0);
        c1 = coopMultiplyAdd(a1.k5, b, c1);
        c2 = coopMultiplyAdd(a2.k5, b, c2);
        c3 = coopMultiplyAdd(a3.k5, b, c3);
        b = coopLoad<MatB>(&sh_rows[key * ROW + 24u], ROW);
        c0 = coopMultiplyAdd(a0.k6, b, c0);
        c1 = coopMultiplyAdd(a1.k6, b, c1);
        c2 = coopMultiplyAdd(a2.k6, b, c2);
        c3 = coopMultiplyAdd(a3.k6, b, c3);
        b = coopLoad<MatB>(&sh_rows[key * ROW + 28u], ROW);
        c0 = coopMultiplyAdd(a0.k7, b, c0);
        c1 = coopMultiplyAdd(a1.k7, b, c1);
        c2 = coopMultiplyAdd(a2.k7, b, c2);
        c3 = coopMultiplyAdd(a3.k7, b, c3);
    }
    coopStore(c0, &sh_products[out], COLUMN);
    coopStore(c1, &sh_products[out + 4u], COLUMN);
    coopStore(c2, &sh_products[out + 8u], COLUMN);
    coopStore(c3, &sh_products[out + 12u], COLUMN);
}

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let t0 = wid.x * GROUPS * QUERIES;
    var last = 0u;
    for (var i = t0; i < min(t0 + GROUPS * QUERIES, params.t); i += 1u) {
        last = max(last, positions[i]);
    }
    let first_page = wid.y * PAGES;
    let end_page = min(first_page + PAGES, min(last, params.s - 1u) / 64u + 1u);
    if first_page >= end_page {
        return;
    }
    stage_weights(t0, lid);

    let lane = lid % LANES;
    let group = lid / LANES % GROUPS;
    let tile0 = lid / LANES / GROUPS * TILES;
    let row = group * STRIPS_AT_ONCE * 16u;
    stage_queries(0u, t0, lid);
    let a0 = load_strip(row);
    if STRIPS_AT_ONCE < 2u {
        stage_queries(1u, t0, lid);
    }
    let a1 = load_strip(row + 1u % STRIPS_AT_ONCE * 16u);
    if STRIPS_AT_ONCE < 4u {
        stage_queries(2u, t0, lid);
    }
    let a2 = load_strip(row + 2u % STRIPS_AT_ONCE * 16u);
    if STRIPS_AT_ONCE < 2u {
        stage_queries(3u, t0, lid);
    }
    let a3 = load_strip(row + 3u % STRIPS_AT_ONCE * 16u);

    let out = lid / LANES * 16u * COLUMN;
    let part = lane / 16u;
    let mine = out + lane % 16u * COLUMN + part * PART_ROWS;
    var next: Page;
    if PREFETCH {
        next = load_page(block_table[first_page], lid);
    }
    for (var page = first_page; page < end_page; page += 1u) {
        if !PREFETCH {
            next = load_page(block_table[page], lid);
        }
        workgroupBarrier();
        store_page(next, lid);
        workgroupBarrier();
        if PREFETCH && page + 1u < end_page {
            next = load_page(block_table[page + 1u], lid);
        }
        for (var tile = tile0; tile < tile0 + TILES; tile += 1u) {
            multiply(a0, a1, a2, a3, tile * 16u, out);
            tile_barrier();
            let key = tile * 16u + lane % 16u;
            let s = page * 64u + key;
            let scale = key_scale(key);
            for (var i = 0u; i < PART_ROWS; i += QUERY_ROWS) {
                var sum = vec4<f32>(0.0);
                for (var j = i; j < i + QUERY_ROWS; j += 1u) {
                    let w = sh_weights[group * 16u + part * PART_ROWS + j];
                    sum = fma(w, max(sh_products[mine + j], vec4<f32>(0.0)), sum);
                }
                var score = (sum.x + sum.y) + (sum.z + sum.w);
                for (var other = 16u; other * 4u * PART_ROWS < 16u * HEADS_PADDED; other *= 2u) {
                    score += subgroupShuffleXor(score, other);
                }
                let in_group = (part * PART_ROWS + i) * 4u;
                let t = t0 + group * QUERIES + in_group / HEADS_PADDED;
                if in_group % HEADS_PADDED == 0u && t < params.t {
                    if s <= positions[t] {
                        scores[t * params.scores_stride + s] = score * scale;
                    }
                }
            }
            if TILES > 1u {
                tile_barrier();
            }
        }
    }
}
