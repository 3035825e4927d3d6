// scores[t, s] = Σ_h w[t, h] · max(0, q[t, h] · k[s]) for s ≤ positions[t], on cooperative matrices.
//
// Grid: workgroup (x, y) takes QUERIES query rows from x and params.pages pages of 64 keys from y; it returns at once when all of its queries end
//   before its keys.
// Each subgroup holds STRIPS · 16 rows of A for its whole life, in registers: a row is one head of one query, rounded to f16, and heads are filled up
//   to HEADS_PADDED with zeros. BLOCK keys at a time are staged in workgroup memory as f16 and are B, 16 keys a tile. The products go through
//   workgroup memory, where each lane takes rows of one key, cuts negative products off and sums the heads with their weights.
// What subgroups hand on through workgroup memory passes a barrier of the workgroup: that of a subgroup orders no workgroup memory.
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
    // Entries from the block table of a query to that of the next; 0 where all have one. Else a workgroup takes one query.
    table_stride: u32,
    pages: u32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (T, q_stride / 4) f32
@group(0) @binding(1) var<storage, read> weights: array<f32>; // (T, w_stride) f32
@group(0) @binding(2) var<storage, read> keys: array<KeyWord>; // (pages · 64, Di) f16, or planar pages of e4m3 with f32 scales
@group(0) @binding(3) var<storage, read> block_table: array<u32>; // (ceil(S / 64)), or (T, table_stride) u32
@group(0) @binding(4) var<storage, read> positions: array<u32>; // (T) u32
@group(0) @binding(5) var<storage, read_write> scores: array<f32>; // (T, scores_stride) f32
@group(0) @binding(6) var<storage, read> params: Params;

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;

const WG_SIZE: u32 = LANES * GROUPS * KEY_GROUPS;
// Rows of a workgroup, one for each head of each query.
const ROWS: u32 = GROUPS * STRIPS * 16u;
const QUERIES: u32 = ROWS / HEADS_PADDED;
// A row of 16-bit values, as vectors of four; the padding of 16 bytes spreads rows over the banks.
const ROW: u32 = DIM / 4u + 2u;
// Keys of one step of a workgroup.
const STEP: u32 = 16u * WIDE * KEY_GROUPS;
// The products of one key, as vectors of four, with the same padding.
const COLUMN: u32 = ROWS / 4u + 1u;
// Lanes that share a query and a key; they stand LANES / PARTS apart.
const PARTS: u32 = HEADS_PADDED / 4u / QUERY_ROWS;
const PAGE_BLOCKS: u32 = 64u / BLOCK;

var<workgroup> sh_rows: array<vec4<f16>, BLOCK * ROW>;
var<workgroup> sh_products: array<vec4<f32>, BUFFERS * STEP * COLUMN>;
var<workgroup> sh_weights: array<vec4<f32>, ROWS / 4u>;
var<workgroup> sh_scales: array<vec4<f32>, BLOCK / 4u>;

// Stages part `part` of the dimensions of strips first .. first + STRIPS_AT_ONCE of every group: row (group, strip, i) of the staging area.
fn stage_queries(first: u32, part: u32, t0: u32, lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < GROUPS * STRIPS_AT_ONCE * 4u * STAGE_DIMS; i += WG_SIZE) {
        let row = i / (STAGE_DIMS / 4u);
        let d = i % (STAGE_DIMS / 4u);
        let group = row / (16u * STRIPS_AT_ONCE);
        let in_rows = (group * STRIPS + first) * 16u + row % (16u * STRIPS_AT_ONCE);
        let t = t0 + in_rows / HEADS_PADDED;
        let h = in_rows % HEADS_PADDED;
        var value = vec4<f32>(0.0);
        if t < params.t && h < HEADS {
            value = q[(params.q_offset + t * params.q_stride + h * DIM + part * STAGE_DIMS) / 4u + d];
        }
        sh_rows[row * STAGE_ROW + d] = vec4<f16>(select(value, value.xzyw, FP8));
    }
    workgroupBarrier();
}

fn stage_weights(t0: u32, lid: u32) {
    for (var i = lid; i < ROWS; i += WG_SIZE) {
        let t = t0 + i / HEADS_PADDED;
        let h = i % HEADS_PADDED;
        let w = weights[params.w_offset + min(t, params.t - 1u) * params.w_stride + min(h, HEADS - 1u)];
        sh_weights[i / 4u][i % 4u] = select(0.0, w, t < params.t && h < HEADS);
    }
}

alias Rows = array<MatA, A_TILES>;

// The rows of A of group `group`: strip i, dimensions 16k to 16k + 15, stands at i · K_TILES + k.
fn load_queries(group: u32, t0: u32, lid: u32) -> Rows {
    var a: Rows;
    for (var round = 0u; round < ROUNDS; round += 1u) { // unrolled
        stage_queries(round / STAGES * STRIPS_AT_ONCE, round % STAGES, t0, lid);
        for (var i = 0u; i < STRIPS_AT_ONCE; i += 1u) { // unrolled
            for (var k = 0u; k < STAGE_TILES; k += 1u) { // unrolled
                a[(round / STAGES * STRIPS_AT_ONCE + i) * K_TILES + round % STAGES * STAGE_TILES + k] =
                    coopLoadT<MatA>(&sh_rows[(group * STRIPS_AT_ONCE + i) * 16u * STAGE_ROW + k * 4u], STAGE_ROW);
            }
        }
    }
    return a;
}

alias Products = array<MatC, C_TILES>;

// The products of all rows of a subgroup with WIDE tiles of 16 keys from `key` of the staged block on.
fn multiply(rows: Rows, key: u32) -> Products {
    var a = rows;
    var c: Products;
    for (var k = 0u; k < K_TILES; k += 1u) { // unrolled
        for (var w = 0u; w < WIDE; w += 1u) { // unrolled
            let b = coopLoad<MatB>(&sh_rows[(key + w * 16u) * ROW + k * 4u], ROW);
            for (var i = 0u; i < STRIPS; i += 1u) { // unrolled
                c[w * STRIPS + i] = coopMultiplyAdd(a[i * K_TILES + k], b, c[w * STRIPS + i]);
            }
        }
    }
    return c;
}

// Stores products by columns from `out` on: row after row of each key.
fn store_products(found: Products, out: u32) {
    var c = found;
    for (var w = 0u; w < WIDE; w += 1u) { // unrolled
        for (var i = 0u; i < STRIPS; i += 1u) { // unrolled
            coopStore(c[w * STRIPS + i], &sh_products[out + w * 16u * COLUMN + i * 4u], COLUMN);
        }
    }
}

// What a lane sums after each step: vectors of products of one key from `row` on, and how many keys the queries of those rows see, if this
// lane writes their scores.
struct Place {
    key: u32,
    row: u32,
    seen: array<u32, LANE_QUERIES>,
}

fn place_of(t0: u32, subgroup: u32, lane: u32) -> Place {
    let part = lane / (LANES / PARTS);
    let pair = subgroup * (LANES / PARTS) + lane % (LANES / PARTS);
    var place: Place;
    place.key = pair % STEP;
    place.row = (pair / STEP * PARTS + part) * LANE_ROWS;
    for (var i = 0u; i < LANE_QUERIES; i += 1u) { // unrolled
        let t = t0 + (place.row + i * QUERY_ROWS) * 4u / HEADS_PADDED;
        let position = positions[min(t, params.t - 1u)];
        place.seen[i] = select(0u, position + 1u, part == 0u && t < params.t);
    }
    return place;
}

// Cuts off, weighs and sums products of one step, which stand from `products` on; this lane's are those of key `s`.
fn finish(loaded: Place, products: u32, t0: u32, s: u32, scale: f32) {
    var place = loaded;
    let mine = products + place.key * COLUMN + place.row;
    for (var i = 0u; i < LANE_QUERIES; i += 1u) { // unrolled
        var sum = vec4<f32>(0.0);
        for (var j = 0u; j < QUERY_ROWS; j += 1u) { // unrolled
            sum = fma(sh_weights[place.row + i * QUERY_ROWS + j], max(sh_products[mine + i * QUERY_ROWS + j], vec4<f32>(0.0)), sum);
        }
        var score = (sum.x + sum.y) + (sum.z + sum.w);
        for (var other = LANES / PARTS; other < LANES; other *= 2u) {
            score += subgroupShuffleXor(score, other);
        }
        if s < place.seen[i] {
            let t = t0 + (place.row + i * QUERY_ROWS) * 4u / HEADS_PADDED;
            scores[t * params.scores_stride + s] = score * scale;
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let t0 = wid.x * QUERIES;
    let first_block = wid.y * params.pages * PAGE_BLOCKS;
    // The page of a block is looked up ahead of its keys.
    let table = t0 * params.table_stride;
    var page = block_table[table + first_block / PAGE_BLOCKS];
    var last = 0u;
    for (var i = t0; i < min(t0 + QUERIES, params.t); i += 1u) {
        last = max(last, positions[i]);
    }
    let end_block = min(first_block + params.pages * PAGE_BLOCKS, min(last, params.s - 1u) / BLOCK + 1u);
    if first_block >= end_block {
        return;
    }
    var next: Block;
    if PREFETCH {
        next = load_block(page, first_block % PAGE_BLOCKS, lid);
        page = block_table[table + min(first_block + 1u, end_block - 1u) / PAGE_BLOCKS];
    }
    stage_weights(t0, lid);
    let subgroup = lid / LANES;
    let group = subgroup % GROUPS;
    let key_group = subgroup / GROUPS;
    let rows = load_queries(group, t0, lid);
    let place = place_of(t0, subgroup, lid % LANES);
    workgroupBarrier();

    let key0 = key_group * 16u * WIDE;
    let out = key0 * COLUMN + group * STRIPS * 4u;
    var area = 0u;
    var s_before = 0xFFFFFFFFu;
    var scale_before = 0.0;
    for (var block = first_block; block < end_block; block += 1u) {
        if !PREFETCH {
            next = load_block(page, block % PAGE_BLOCKS, lid);
            page = block_table[table + min(block + 1u, end_block - 1u) / PAGE_BLOCKS];
        }
        store_block(next, lid);
        workgroupBarrier();
        if PREFETCH && block + 1u < end_block {
            next = load_block(page, (block + 1u) % PAGE_BLOCKS, lid);
            page = block_table[table + min(block + 2u, end_block - 1u) / PAGE_BLOCKS];
        }
        for (var step = 0u; step < STEPS; step += 1u) { // unrolled
            let found = multiply(rows, key0 + step * STEP);
            let scale = key_scale(step * STEP + place.key);
            let s = block * BLOCK + step * STEP + place.key;
            if BUFFERS == 2u {
                // The step before is finished while this one multiplies; it left its products in the other area.
                finish(place, area, t0, s_before, scale_before);
                area = BUFFERS * STEP * COLUMN - STEP * COLUMN - area;
                s_before = s;
                scale_before = scale;
            }
            store_products(found, area + out);
            // Behind the last product of a block no subgroup reads its keys any more.
            workgroupBarrier();
            if BUFFERS == 1u {
                finish(place, area, t0, s, scale);
                if step + 1u < STEPS {
                    workgroupBarrier();
                }
            }
        }
    }
    if BUFFERS == 2u {
        finish(place, area, t0, s_before, scale_before);
    }
}
