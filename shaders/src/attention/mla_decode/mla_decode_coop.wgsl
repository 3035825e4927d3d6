// Partial attention of HEADS heads of one query over one split of its slots, with cooperative matrices.
//
//   s[h, i] = scale · q[h] · row_i;  m ≥ max s - SLACK;  l = Σ 2^(s - m);  a[h] = Σ 2^(s[h, i] - m) · row_i[0..C]
//
// Grid: wid.x takes HEADS = 16 · HEAD_TILES heads, wid.y a split, wid.z a query. 4 · HEAD_TILES subgroups keep two things in registers: for
// the scores, the query of 16 heads in a quarter of the width; for the sums, a share of the columns of all heads. A step stages ROWS rows
// once for both; the probabilities take the place of the rotated values, which are done with by then.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; C = 512 and R = 64; 48 KiB of workgroup memory.
// Numerics: f16 products of the scaled query, the rows and the probabilities; f32 sums. The maximum that exponents refer to is raised only
// when scores exceed it by more than SLACK: sums in registers are rarely rescaled, and a probability stays below 2^SLACK.

const HEADS: u32 = 16u * HEAD_TILES;
const SUBGROUPS: u32 = 4u * HEAD_TILES;
const WG_SIZE: u32 = SUBGROUPS * LANES;
const WIDTH8: u32 = 72u;
// In vectors of four. Padding of 16 bytes keeps the banks apart.
const ROW_STRIDE: u32 = 2u * WIDTH8 + 2u;
const SCORE_STRIDE: u32 = ROWS / 4u + 1u;
// A quarter of the width, and where probabilities are.
const QUARTER: u32 = WIDTH8 / 2u;
const SHARES: u32 = LATENT / 4u;
const SLACK: f32 = 8.0;

var<workgroup> sh_rows: array<vec4<f16>, ROWS * ROW_STRIDE>;
// Two partial sums of the scores; then a patch of 16×16 for each subgroup.
var<workgroup> sh_scores: array<vec4<f32>, 2u * HEADS * SCORE_STRIDE>;
var<workgroup> sh_largest: array<f32, HEADS>;
var<workgroup> sh_total: array<f32, HEADS>;
var<workgroup> sh_decay: array<f32, HEADS>;

// The query as f16, times the scale, in the place of the rows.
fn stage_query(lid: u32, t: u32, first_head: u32) {
    for (var i = lid; i < HEADS * 2u * WIDTH8; i += WG_SIZE) {
        // Heads beyond the last repeat it; combine does not read them.
        let head = min(first_head + i / (2u * WIDTH8), params.h - 1u);
        let at = (t * params.q_stride + params.q_offset) / 4u + head * (2u * WIDTH8) + i % (2u * WIDTH8);
        sh_rows[i / (2u * WIDTH8) * ROW_STRIDE + i % (2u * WIDTH8)] = vec4<f16>(q[at] * params.scale);
    }
}

// Adds the partial scores, masks unfilled slots, and turns scores into probabilities. Eight lanes share a head.
fn softmax(lid: u32) {
    for (var i = lid; i < HEADS * 8u; i += WG_SIZE) {
        let head = i / 8u;
        let part = i % 8u;
        let rows = vec4(sh_row[4u * part], sh_row[4u * part + 1u], sh_row[4u * part + 2u], sh_row[4u * part + 3u]);
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
fn decayed(m: MatC, head: u32, patch_at: u32, lane: u32) -> MatC {
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
    let out = (t * params.n_splits + wid.y) * params.padded_heads + first_head;
    if lid < HEADS {
        sh_largest[lid] = LOWEST;
        sh_total[lid] = 0.0;
    }

    stage_query(lid, t, first_head);
    workgroupBarrier();
    // Scores: 16 heads in a quarter of the width.
    let tile = subgroup / 4u;
    let quarter = subgroup % 4u;
    let query_at = 16u * tile * ROW_STRIDE + quarter * QUARTER;
    let q0 = load_a(query_at);
    let q1 = load_a(query_at + 4u);
    let q2 = load_a(query_at + 8u);
    let q3 = load_a(query_at + 12u);
    let q4 = load_a(query_at + 16u);
    let q5 = load_a(query_at + 20u);
    let q6 = load_a(query_at + 24u);
    let q7 = load_a(query_at + 28u);
    let q8 = load_a(query_at + 32u);
    // Sums: eight tiles, of 4 tiles of columns and two of heads, or of 8 and one.
    let column = subgroup * (SHARES / SUBGROUPS);
    var a0 = MatC();
    var a1 = MatC();
    var a2 = MatC();
    var a3 = MatC();
    var a4 = MatC();
    var a5 = MatC();
    var a6 = MatC();
    var a7 = MatC();

    for (var first = range.x; first < range.y; first += ROWS) {
        if slot_position(t, first) < 0 {
            break;
        }
        if lid < ROWS {
            find_row(t, first, range.y, lid);
        }
        workgroupBarrier();
        stage_rows(lid);
        workgroupBarrier();

        var s0 = MatC();
        var s1 = MatC();
        let keys_at = quarter * QUARTER;
        let next = 16u * ROW_STRIDE;
        s0 = multiply_add(q0, load_keys(keys_at), s0);
        s1 = multiply_add(q0, load_keys(keys_at + next), s1);
        s0 = multiply_add(q1, load_keys(keys_at + 4u), s0);
        s1 = multiply_add(q1, load_keys(keys_at + next + 4u), s1);
        s0 = multiply_add(q2, load_keys(keys_at + 8u), s0);
        s1 = multiply_add(q2, load_keys(keys_at + next + 8u), s1);
        s0 = multiply_add(q3, load_keys(keys_at + 12u), s0);
        s1 = multiply_add(q3, load_keys(keys_at + next + 12u), s1);
        s0 = multiply_add(q4, load_keys(keys_at + 16u), s0);
        s1 = multiply_add(q4, load_keys(keys_at + next + 16u), s1);
        s0 = multiply_add(q5, load_keys(keys_at + 20u), s0);
        s1 = multiply_add(q5, load_keys(keys_at + next + 20u), s1);
        s0 = multiply_add(q6, load_keys(keys_at + 24u), s0);
        s1 = multiply_add(q6, load_keys(keys_at + next + 24u), s1);
        s0 = multiply_add(q7, load_keys(keys_at + 28u), s0);
        s1 = multiply_add(q7, load_keys(keys_at + next + 28u), s1);
        s0 = multiply_add(q8, load_keys(keys_at + 32u), s0);
        s1 = multiply_add(q8, load_keys(keys_at + next + 32u), s1);
        // Quarters 2 and 3 first, then 0 and 1 on top of them.
        let score_at = (quarter % 2u * HEADS + 16u * tile) * SCORE_STRIDE;
        if quarter >= 2u {
            store_scores(s0, score_at, SCORE_STRIDE);
            store_scores(s1, score_at + 4u, SCORE_STRIDE);
        }
        workgroupBarrier();
        if quarter < 2u {
            store_scores(add(s0, load_scores(score_at, SCORE_STRIDE)), score_at, SCORE_STRIDE);
            store_scores(add(s1, load_scores(score_at + 4u, SCORE_STRIDE)), score_at + 4u, SCORE_STRIDE);
        }
        workgroupBarrier();
        softmax(lid);
        workgroupBarrier();

        if first > range.x {
            var grown = false;
            for (var i = lane; i < HEADS; i += LANES) {
                grown = grown || sh_decay[i] != 1.0;
            }
            // Every subgroup sees the same decays.
            if subgroupAny(grown) {
                let patch_at = subgroup * 64u;
                let second = 16u * (HEAD_TILES - 1u);
                a0 = decayed(a0, 0u, patch_at, lane);
                a1 = decayed(a1, 0u, patch_at, lane);
                a2 = decayed(a2, 0u, patch_at, lane);
                a3 = decayed(a3, 0u, patch_at, lane);
                a4 = decayed(a4, second, patch_at, lane);
                a5 = decayed(a5, second, patch_at, lane);
                a6 = decayed(a6, second, patch_at, lane);
                a7 = decayed(a7, second, patch_at, lane);
            }
        }

        for (var k = 0u; k < ROWS / 16u; k += 1u) {
            let values_at = 16u * k * ROW_STRIDE + column;
            var p = load_a(SHARES + 4u * k);
            var b0 = load_values(values_at);
            var b1 = load_values(values_at + 4u);
            var b2 = load_values(values_at + 8u);
            var b3 = load_values(values_at + 12u);
            a0 = multiply_add(p, b0, a0);
            a1 = multiply_add(p, b1, a1);
            a2 = multiply_add(p, b2, a2);
            a3 = multiply_add(p, b3, a3);
            if HEAD_TILES == 2u {
                p = load_a(16u * ROW_STRIDE + SHARES + 4u * k);
            } else {
                b0 = load_values(values_at + 16u);
                b1 = load_values(values_at + 20u);
                b2 = load_values(values_at + 24u);
                b3 = load_values(values_at + 28u);
            }
            a4 = multiply_add(p, b0, a4);
            a5 = multiply_add(p, b1, a5);
            a6 = multiply_add(p, b2, a6);
            a7 = multiply_add(p, b3, a7);
        }
        workgroupBarrier();
    }

    if lid < HEADS {
        stats[out + lid] = vec2(sh_largest[lid], sh_total[lid]);
    }
    if range.x < range.y {
        let at = out * (LATENT / 4u) + column;
        let second = select(16u, 16u * (LATENT / 4u), HEAD_TILES == 2u);
        store_partial(a0, at);
        store_partial(a1, at + 4u);
        store_partial(a2, at + 8u);
        store_partial(a3, at + 12u);
        store_partial(a4, at + second);
        store_partial(a5, at + second + 4u);
        store_partial(a6, at + second + 8u);
        store_partial(a7, at + second + 12u);
    }
}
