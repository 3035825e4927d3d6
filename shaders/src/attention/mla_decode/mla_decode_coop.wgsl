// Partial attention of HEADS heads of one query over one split of its slots, with cooperative matrices.
//
//   s[h, i] = scale · q[h] · row_i;  m ≥ max s - SLACK;  l = Σ 2^(s - m);  a[h] = Σ 2^(s[h, i] - m) · row_i[0..C]
//
// Grid: wid.x takes HEADS = 16 · HEAD_TILES heads, wid.y a split, wid.z a query. Eight subgroups keep two things in registers: for the scores,
// the query of 16 heads in a quarter of the width; for the sums, an eighth of the columns of all heads. A step stages ROWS rows once for both;
// the probabilities take the place of the rotated values, which are done with by then. The rows of the next step are on their way while the
// sums of this one are formed, and their numbers are looked up two steps ahead.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; C = 512 and R = 64; 48 KiB of workgroup memory.
// Numerics: f16 products of the scaled query, the rows and the probabilities; f32 sums. The maximum that exponents refer to is raised only
// when scores exceed it by more than SLACK: sums in registers are rarely rescaled, and a probability stays below 2^SLACK.

const HEADS: u32 = 16u * HEAD_TILES;
const WG_SIZE: u32 = 8u * LANES;
const WIDTH8: u32 = 72u;
// In vectors of four. Padding of 16 bytes keeps the banks apart.
const ROW_STRIDE: u32 = 2u * WIDTH8 + 2u;
const SCORE_STRIDE: u32 = ROWS / 4u + 1u;
// A quarter of the width, and where probabilities are.
const QUARTER: u32 = WIDTH8 / 2u;
const SHARES: u32 = LATENT / 4u;
const SLACK: f32 = 8.0;
// Tiles of 16: values of a quarter of the width, columns of a subgroup.
const KEY_TILES: u32 = 9u;
const COLUMN_TILES: u32 = 4u;
// Invocations that stage one row: eight of them read 128 bytes at a time, and each knows its addresses but for the row.
const ROW_LANES: u32 = WG_SIZE / ROWS;

var<workgroup> sh_rows: array<vec4<f16>, ROWS * ROW_STRIDE>;
// Two partial sums of the scores; then a patch of 16×16 for each subgroup.
var<workgroup> sh_scores: array<vec4<f32>, SCORES>;
var<workgroup> sh_largest: array<f32, HEADS>;
var<workgroup> sh_total: array<f32, HEADS>;
var<workgroup> sh_decay: array<f32, HEADS>;
// Physical rows of the slots of four steps.
var<workgroup> sh_row: array<u32, 4u * ROWS>;

// The physical row of a slot. An unfilled one gets a row that is read anyway, so that what is staged for it is finite.
fn row_of(t: u32, slot: u32, end: u32) -> u32 {
    var position = -1;
    if slot < end {
        position = slot_position(t, slot);
    }
    if position >= 0 {
        return physical_row(t, u32(position));
    }
    let first = slot / ROWS * ROWS;
    if first < end {
        position = slot_position(t, first);
    }
    return physical_row(t, u32(max(position, 0))) | UNFILLED;
}

// Adds the partial scores, masks unfilled slots, and turns scores into probabilities. Eight lanes share a head.
fn softmax(lid: u32, ring: u32) {
    for (var i = lid; i < HEADS * 8u; i += WG_SIZE) {
        let head = i / 8u;
        let part = i % 8u;
        let at = ring + 4u * part;
        let rows = vec4(sh_row[at], sh_row[at + 1u], sh_row[at + 2u], sh_row[at + 3u]);
        let sum = sh_scores[head * SCORE_STRIDE + part] + sh_scores[(HEADS + head) * SCORE_STRIDE + part];
        let s = select(sum, vec4(LOWEST), rows >= vec4(UNFILLED));
        var most = max(max(s.x, s.y), max(s.z, s.w));
        most = max(most, subgroupShuffleXor(most, 1u));
        most = max(most, subgroupShuffleXor(most, 2u));
        most = max(most, subgroupShuffleXor(most, 4u));
        let before = sh_largest[head];
        let largest = select(before, most, most > before + SLACK);
        let p = exp2(s - largest);
        let halves = vec4<f16>(p);
        sh_rows[head * ROW_STRIDE + SHARES + part] = halves;
        // The sum is over what will be multiplied: the rounded probabilities.
        var total = dot(vec4<f32>(halves), vec4(1.0));
        total += subgroupShuffleXor(total, 1u);
        total += subgroupShuffleXor(total, 2u);
        total += subgroupShuffleXor(total, 4u);
        if part == 0u {
            let decay = exp2(before - largest);
            sh_decay[head] = decay;
            sh_total[head] = sh_total[head] * decay + total;
            sh_largest[head] = largest;
        }
    }
}

// The rows of a sum times the decays of their heads, through the subgroup's patch.
fn decayed(m: MatC, head: u32, subgroup: u32, lane: u32) -> MatC {
    let patch_at = subgroup * 64u;
    store_scores(m, patch_at, 4u);
    workgroupBarrier();
    for (var i = lane; i < 64u; i += LANES) {
        sh_scores[patch_at + i] *= sh_decay[head + i / 4u];
    }
    workgroupBarrier();
    let scaled = load_scores(patch_at, 4u);
    workgroupBarrier();
    return scaled;
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let t = wid.z;
    let first_head = wid.x * HEADS;
    let subgroup = lid / LANES;
    let lane = lid % LANES;
    let range = slot_range(slot_count(t), wid.y);
    for (var i = lid; i < HEADS; i += WG_SIZE) {
        sh_largest[i] = LOWEST;
        sh_total[i] = 0.0;
    }
    for (var i = lid; i < 2u * ROWS; i += WG_SIZE) {
        sh_row[i] = row_of(t, range.x + i, range.y);
    }
    workgroupBarrier();
    // The first rows are on their way while the query takes their place, as f16 and times the scale.
    let row = lid / ROW_LANES;
    let item = lid % ROW_LANES;
    var items: array<Item, LOADS>;
    var from_row = sh_row[row] & ~UNFILLED;
    for (var n = 0u; n < LOADS; n += 1u) { // unrolled
        items[n] = fetch(from_row, item + n * ROW_LANES);
    }
    for (var n = 0u; n < QUERY_LOADS; n += 1u) { // unrolled
        let i = lid + n * WG_SIZE;
        // Heads beyond the last repeat it; what they give is not read.
        let head = min(first_head + i / (2u * WIDTH8), params.h - 1u);
        let at = (t * params.q_stride + params.q_offset) / 4u + head * (2u * WIDTH8) + i % (2u * WIDTH8);
        sh_rows[i / (2u * WIDTH8) * ROW_STRIDE + i % (2u * WIDTH8)] = vec4<f16>(q[at] * params.scale);
    }
    workgroupBarrier();
    // Scores: 16 heads in a quarter of the width, over 32 rows, or over 16 where there are no other heads.
    let quarter = subgroup % 4u;
    let tile = select(0u, subgroup / 4u, HEAD_TILES == 2u);
    let keys_at = quarter * QUARTER + select(subgroup / 4u * 16u * ROW_STRIDE, 0u, HEAD_TILES == 2u);
    let score_at = (quarter % 2u * HEADS + 16u * tile) * SCORE_STRIDE + select(subgroup / 4u * 4u, 0u, HEAD_TILES == 2u);
    var query: array<MatA, KEY_TILES>;
    for (var k = 0u; k < KEY_TILES; k += 1u) { // unrolled
        query[k] = coopLoadT<MatA>(&sh_rows[16u * tile * ROW_STRIDE + quarter * QUARTER + 4u * k], ROW_STRIDE);
    }
    // Sums: four tiles of columns of one or two tiles of heads.
    let column = subgroup * (SHARES / 8u);
    var tiles: array<MatC, COLUMN_TILES * HEAD_TILES>;
    for (var i = 0u; i < HEAD_TILES; i += 1u) { // unrolled
        for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
            tiles[COLUMN_TILES * i + c] = MatC();
        }
    }
    workgroupBarrier();

    var step = 0u;
    for (var first = range.x; first < range.y; first += ROWS) {
        let ring = step % 4u * ROWS;
        if sh_row[ring] >= UNFILLED {
            break;
        }
        for (var n = 0u; n < LOADS; n += 1u) { // unrolled
            put(row, item + n * ROW_LANES, items[n]);
        }
        let later_at = (step + 2u) % 4u * ROWS + lid;
        var later = 0u;
        if lid < ROWS {
            later = row_of(t, first + 2u * ROWS + lid, range.y);
        }
        workgroupBarrier();

        // As many tiles of rows as there are of heads.
        var s: array<MatC, HEAD_TILES>;
        for (var r = 0u; r < HEAD_TILES; r += 1u) { // unrolled
            s[r] = MatC();
        }
        for (var k = 0u; k < KEY_TILES; k += 1u) { // unrolled
            for (var r = 0u; r < HEAD_TILES; r += 1u) { // unrolled
                s[r] = coopMultiplyAdd(query[k], coopLoad<MatB>(&sh_rows[keys_at + 16u * r * ROW_STRIDE + 4u * k], ROW_STRIDE), s[r]);
            }
        }
        // Quarters 2 and 3 first, then 0 and 1 on top of them.
        if quarter >= 2u {
            for (var r = 0u; r < HEAD_TILES; r += 1u) { // unrolled
                store_scores(s[r], score_at + 4u * r, SCORE_STRIDE);
            }
        }
        workgroupBarrier();
        if quarter < 2u {
            for (var r = 0u; r < HEAD_TILES; r += 1u) { // unrolled
                store_scores(add(s[r], load_scores(score_at + 4u * r, SCORE_STRIDE)), score_at + 4u * r, SCORE_STRIDE);
            }
        }
        workgroupBarrier();
        // The next rows, whether or not there are any: an unfilled slot has a row to read.
        from_row = sh_row[(step + 1u) % 4u * ROWS + row] & ~UNFILLED;
        for (var n = 0u; n < LOADS; n += 1u) { // unrolled
            items[n] = fetch(from_row, item + n * ROW_LANES);
        }
        softmax(lid, ring);
        if lid < ROWS {
            sh_row[later_at] = later;
        }
        workgroupBarrier();

        if step > 0u {
            var grown = false;
            for (var i = lane; i < HEADS; i += LANES) {
                grown = grown || sh_decay[i] != 1.0;
            }
            // Every subgroup sees the same decays.
            if subgroupAny(grown) {
                for (var i = 0u; i < HEAD_TILES; i += 1u) { // unrolled
                    for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
                        tiles[COLUMN_TILES * i + c] = decayed(tiles[COLUMN_TILES * i + c], 16u * i, subgroup, lane);
                    }
                }
            }
        }
        for (var k = 0u; k < ROW_TILES; k += 1u) { // unrolled
            var p: array<MatA, HEAD_TILES>;
            for (var i = 0u; i < HEAD_TILES; i += 1u) { // unrolled
                p[i] = coopLoadT<MatA>(&sh_rows[16u * i * ROW_STRIDE + SHARES + 4u * k], ROW_STRIDE);
            }
            for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
                let values = coopLoadT<MatB>(&sh_rows[16u * k * ROW_STRIDE + column + 4u * c], ROW_STRIDE);
                for (var i = 0u; i < HEAD_TILES; i += 1u) { // unrolled
                    tiles[COLUMN_TILES * i + c] = coopMultiplyAdd(p[i], values, tiles[COLUMN_TILES * i + c]);
                }
            }
        }
        step += 1u;
        workgroupBarrier();
    }

    for (var i = lid; i < HEADS; i += WG_SIZE) {
        keep_stats(t, wid.y, first_head, i, sh_largest[i], sh_total[i]);
    }
    workgroupBarrier();
    if DIRECT || range.x < range.y {
        for (var i = 0u; i < HEAD_TILES; i += 1u) { // unrolled
            for (var c = 0u; c < COLUMN_TILES; c += 1u) { // unrolled
                keep_tile(tiles[COLUMN_TILES * i + c], t, wid.y, first_head, 16u * i, column + 4u * c, subgroup, lane);
            }
        }
    }
}
