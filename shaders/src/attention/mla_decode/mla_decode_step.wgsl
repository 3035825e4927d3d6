// Partial attention of 16 heads of one query over ROWS of its slots, with cooperative matrices: the form of mla_decode_coop for launches that
// have a processor for each step. Such a launch takes as long as its chain of waits, so that nothing is looked up ahead or kept for later.
//
//   s[h, i] = scale · q[h] · row_i;  m = max s;  l = Σ 2^(s - m);  a[h] = Σ 2^(s[h, i] - m) · row_i[0..C]
//
// Grid: wid.x takes HEADS = 16 heads, wid.y ROWS slots, wid.z a query. Each invocation finds the row that it stages by itself. Four subgroups
// for each tile of 16 rows form scores, each in a quarter of the width; then each of SUBGROUPS takes its share of the columns.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; C = 512 and R = 64; 48 KiB of workgroup memory.
// Numerics: f16 products of the scaled query, the rows and the probabilities; f32 sums.

const HEADS: u32 = 16u;
const WG_SIZE: u32 = SUBGROUPS * LANES;
const WIDTH8: u32 = 72u;
// In vectors of four. Padding of 16 bytes keeps the banks apart.
const ROW_STRIDE: u32 = 2u * WIDTH8 + 2u;
const SCORE_STRIDE: u32 = ROWS / 4u + 1u;
// A quarter of the width, and where probabilities are: in place of the rotated values.
const QUARTER: u32 = WIDTH8 / 2u;
const SHARES: u32 = LATENT / 4u;
// Tiles of 16 values in a quarter of the width.
const KEY_TILES: u32 = 9u;
// Invocations that stage one row, and that share a head of the scores.
const ROW_LANES: u32 = WG_SIZE / ROWS;
const SOFT_LANES: u32 = ROWS / 4u;

var<workgroup> sh_rows: array<vec4<f16>, ROWS * ROW_STRIDE>;
// The scores of each quarter of the width.
var<workgroup> sh_scores: array<vec4<f32>, 4u * HEADS * SCORE_STRIDE>;

// The position of a slot, -1 of an unfilled one.
fn position_of(t: u32, slot: u32, end: u32) -> i32 {
    if slot < end {
        return slot_position(t, slot);
    }
    return -1;
}

// Functions, because only some subgroups form scores: naga takes them for uniform here.
fn load_a(at: u32) -> MatA {
    return coopLoadT<coop_mat16x16<f16, A>>(&sh_rows[at], ROW_STRIDE);
}

fn load_key(at: u32) -> MatB {
    return coopLoad<coop_mat16x16<f16, B>>(&sh_rows[at], ROW_STRIDE);
}

fn load_value(at: u32) -> MatB {
    return coopLoadT<coop_mat16x16<f16, B>>(&sh_rows[at], ROW_STRIDE);
}

fn times(a: MatA, b: MatB, c: MatC) -> MatC {
    return coopMultiplyAdd(a, b, c);
}

// Adds the quarters, masks unfilled slots, and turns scores into probabilities.
fn softmax(lid: u32, t: u32, first: u32, end: u32, split: u32, first_head: u32) {
    let head = lid / SOFT_LANES;
    let part = lid % SOFT_LANES;
    var s = vec4(0.0);
    for (var k = 0u; k < 4u; k += 1u) {
        s += sh_scores[(k * HEADS + head) * SCORE_STRIDE + part];
    }
    for (var k = 0u; k < 4u; k += 1u) {
        if position_of(t, first + 4u * part + k, end) < 0 {
            s[k] = LOWEST;
        }
    }
    var largest = max(max(s.x, s.y), max(s.z, s.w));
    for (var mask = 1u; mask < SOFT_LANES; mask *= 2u) {
        largest = max(largest, subgroupShuffleXor(largest, mask));
    }
    let halves = vec4<f16>(exp2(s - largest));
    sh_rows[head * ROW_STRIDE + SHARES + part] = halves;
    // The sum is over what will be multiplied: the rounded probabilities.
    var total = dot(vec4<f32>(halves), vec4(1.0));
    for (var mask = 1u; mask < SOFT_LANES; mask *= 2u) {
        total += subgroupShuffleXor(total, mask);
    }
    if part == 0u {
        keep_stats(t, split, first_head, head, largest, total);
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let t = wid.z;
    let first_head = wid.x * HEADS;
    let subgroup = lid / LANES;
    let first = wid.y * ROWS;
    let end = slot_count(t);
    if position_of(t, first, end) < 0 {
        if lid < HEADS {
            keep_stats(t, wid.y, first_head, lid, LOWEST, 0.0);
        }
        return;
    }
    // The rows are on their way while the query takes their place, as f16 and times the scale. An unfilled slot gets the row of position 0,
    // so that what is staged for it is finite.
    let row = lid / ROW_LANES;
    let item = lid % ROW_LANES;
    let from_row = physical_row(t, u32(max(position_of(t, first + row, end), 0)));
    var items: array<Item, LOADS>;
    for (var n = 0u; n < LOADS; n += 1u) { // unrolled
        items[n] = fetch(from_row, min(item + n * ROW_LANES, ITEMS - 1u));
    }
    for (var n = 0u; n < QUERY_LOADS; n += 1u) { // unrolled
        let i = lid + n * WG_SIZE;
        if i < HEADS * 2u * WIDTH8 {
            // Heads beyond the last repeat it; what they give is not read.
            let head = min(first_head + i / (2u * WIDTH8), params.h - 1u);
            let at = (t * params.q_stride + params.q_offset) / 4u + head * (2u * WIDTH8) + i % (2u * WIDTH8);
            sh_rows[i / (2u * WIDTH8) * ROW_STRIDE + i % (2u * WIDTH8)] = vec4<f16>(q[at] * params.scale);
        }
    }
    workgroupBarrier();
    let quarter = subgroup % 4u;
    let tile = subgroup / 4u;
    var query: array<MatA, KEY_TILES>;
    for (var k = 0u; k < KEY_TILES; k += 1u) { // unrolled
        query[k] = load_a(quarter * QUARTER + 4u * k);
    }
    workgroupBarrier();
    for (var n = 0u; n < LOADS; n += 1u) { // unrolled
        if item + n * ROW_LANES < ITEMS {
            put(row, item + n * ROW_LANES, items[n]);
        }
    }
    workgroupBarrier();
    if tile < ROW_TILES {
        var s = MatC();
        for (var k = 0u; k < KEY_TILES; k += 1u) { // unrolled
            s = times(query[k], load_key(tile * 16u * ROW_STRIDE + quarter * QUARTER + 4u * k), s);
        }
        store_scores(s, quarter * HEADS * SCORE_STRIDE + tile * 4u, SCORE_STRIDE);
    }
    workgroupBarrier();
    if lid < HEADS * SOFT_LANES {
        softmax(lid, t, first, end, wid.y, first_head);
    }
    workgroupBarrier();
    let column = subgroup * (SHARES / SUBGROUPS);
    var tiles: array<MatC, COLUMN_TILES>;
    for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
        tiles[c] = MatC();
    }
    for (var k = 0u; k < ROW_TILES; k += 1u) { // unrolled
        let p = load_a(SHARES + 4u * k);
        for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
            tiles[c] = times(p, load_value(16u * k * ROW_STRIDE + column + 4u * c), tiles[c]);
        }
    }
    for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
        keep_tile(tiles[c], t, wid.y, first_head, 0u, column + 4u * c, subgroup, lid % LANES);
    }
}
