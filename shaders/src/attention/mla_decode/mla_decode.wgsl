// Partial attention of HEADS heads of one query over one split of its slots, with multiply-adds.
//
//   s[h, i] = scale · q[h] · row_i;  m = max s;  l = Σ 2^(s - m);  a[h] = Σ 2^(s[h, i] - m) · row_i[0..C]
//
// Grid: wid.x takes HEADS heads, wid.y a split, wid.z a query. A step takes ROWS slots: scores by tiles of 4 heads × 4 rows with the
// width cut into chunks of 32 values, of which each of four groups of invocations sums a quarter; then each invocation adds eight columns
// of all rows to four heads.
// Requires: nothing beyond the base tier; C and R multiples of 8, C at most 512; unfilled slots only after filled ones.
// Numerics: f32 throughout; running maximum; fixed order.

const WG_SIZE: u32 = 16u * HEADS;
const WIDTH8: u32 = (LATENT + ROTATED) / 8u;
const CHUNK8: u32 = 4u;
// One vector of padding keeps the banks apart.
const CHUNK_STRIDE: u32 = 2u * CHUNK8 + 1u;

var<workgroup> sh_row: array<u32, ROWS>;
var<workgroup> sh_keys: array<vec4<f32>, ROWS * CHUNK_STRIDE>;
var<workgroup> sh_query: array<vec4<f32>, HEADS * CHUNK_STRIDE>;
// Vector g of a head holds the slots g, g + 16, g + 32, g + 48 of the step: first scores, then their exponentials.
var<workgroup> sh_scores: array<vec4<f32>, HEADS * 16u>;
var<workgroup> sh_decay: array<f32, HEADS>;

// Writes the physical row of slot first + i to sh_row[i]. An unfilled slot gets the row of slot first, so that what is read there is finite.
fn find_row(t: u32, first: u32, end: u32, i: u32) {
    var position = -1;
    if first + i < end {
        position = slot_position(t, first + i);
    }
    if position >= 0 {
        sh_row[i] = physical_row(t, u32(position));
    } else {
        sh_row[i] = physical_row(t, u32(slot_position(t, first))) | UNFILLED;
    }
}

// Stages the values [32 chunk, 32 chunk + 32) of the rows and of the query; zeros beyond the width.
fn stage(lid: u32, t: u32, first_head: u32, chunk: u32) {
    for (var i = lid; i < ROWS * CHUNK8; i += WG_SIZE) {
        let j = chunk * CHUNK8 + i % CHUNK8;
        var eight = Eight(vec4(0.0), vec4(0.0));
        if j < WIDTH8 {
            eight = row_eight(sh_row[i / CHUNK8] & ~UNFILLED, j);
        }
        let at = i / CHUNK8 * CHUNK_STRIDE + 2u * (i % CHUNK8);
        sh_keys[at] = eight.low;
        sh_keys[at + 1u] = eight.high;
    }
    for (var i = lid; i < HEADS * 2u * CHUNK8; i += WG_SIZE) {
        let j = chunk * 2u * CHUNK8 + i % (2u * CHUNK8);
        // Heads beyond the last repeat it; combine does not read them.
        let head = min(first_head + i / (2u * CHUNK8), params.h - 1u);
        var four = vec4(0.0);
        if j < 2u * WIDTH8 {
            four = q[(t * params.q_stride + params.q_offset + head * (LATENT + ROTATED)) / 4u + j];
        }
        sh_query[i / (2u * CHUNK8) * CHUNK_STRIDE + i % (2u * CHUNK8)] = four;
    }
}

fn tile_row(query: vec4<f32>, k: mat4x4<f32>) -> vec4<f32> {
    return query * k;
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let t = wid.z;
    let first_head = wid.x * HEADS;
    let range = slot_range(slot_count(t), wid.y);
    // Scores: row group, head quad, quarter of a chunk.
    let rg = lid % 16u;
    let quad = lid / 16u % (HEADS / 4u);
    let quarter = lid / (4u * HEADS);
    // Sums: eight columns, head quad.
    let column = lid % (LATENT / 8u);
    let sum_quad = lid / (LATENT / 8u);
    let sums = sum_quad < HEADS / 4u;
    // Softmax: head and vector of slots.
    let soft_head = lid / 16u;
    var largest = LOWEST;
    var total = 0.0;
    var a0 = Eight(vec4(0.0), vec4(0.0));
    var a1 = a0;
    var a2 = a0;
    var a3 = a0;

    for (var first = range.x; first < range.y; first += ROWS) {
        if slot_position(t, first) < 0 {
            break;
        }
        for (var i = lid; i < ROWS; i += WG_SIZE) {
            find_row(t, first, range.y, i);
        }
        workgroupBarrier();

        var s0 = vec4(0.0);
        var s1 = s0;
        var s2 = s0;
        var s3 = s0;
        for (var chunk = 0u; chunk * CHUNK8 < WIDTH8; chunk += 1u) {
            stage(lid, t, first_head, chunk);
            workgroupBarrier();
            for (var unit = 2u * quarter; unit < 2u * quarter + 2u; unit += 1u) {
                let at = rg * CHUNK_STRIDE + unit;
                let k = mat4x4(sh_keys[at], sh_keys[at + 16u * CHUNK_STRIDE], sh_keys[at + 32u * CHUNK_STRIDE], sh_keys[at + 48u * CHUNK_STRIDE]);
                let from_head = 4u * quad * CHUNK_STRIDE + unit;
                s0 += tile_row(sh_query[from_head], k);
                s1 += tile_row(sh_query[from_head + CHUNK_STRIDE], k);
                s2 += tile_row(sh_query[from_head + 2u * CHUNK_STRIDE], k);
                s3 += tile_row(sh_query[from_head + 3u * CHUNK_STRIDE], k);
            }
            workgroupBarrier();
        }
        // The four quarters one after another, then the scale and the mask.
        for (var turn = 0u; turn < 4u; turn += 1u) {
            if quarter == turn {
                let at = 4u * quad * 16u + rg;
                if turn > 0u {
                    s0 += sh_scores[at];
                    s1 += sh_scores[at + 16u];
                    s2 += sh_scores[at + 32u];
                    s3 += sh_scores[at + 48u];
                }
                sh_scores[at] = s0;
                sh_scores[at + 16u] = s1;
                sh_scores[at + 32u] = s2;
                sh_scores[at + 48u] = s3;
            }
            workgroupBarrier();
        }
        let rows = vec4(sh_row[rg], sh_row[rg + 16u], sh_row[rg + 32u], sh_row[rg + 48u]);
        sh_scores[lid] = select(sh_scores[lid] * params.scale, vec4(LOWEST), rows >= vec4(UNFILLED));
        workgroupBarrier();

        // Every invocation of a head finds the same maximum.
        var most = vec4(largest);
        for (var i = 0u; i < 16u; i += 1u) {
            most = max(most, sh_scores[soft_head * 16u + i]);
        }
        let now = max(max(most.x, most.y), max(most.z, most.w));
        let decay = exp2(largest - now);
        largest = now;
        let p = exp2(sh_scores[lid] - now);
        workgroupBarrier();
        sh_scores[lid] = p;
        if rg == 0u {
            sh_decay[soft_head] = decay;
        }
        workgroupBarrier();

        var sum = vec4(0.0);
        for (var i = 0u; i < 16u; i += 1u) {
            sum += sh_scores[soft_head * 16u + i];
        }
        total = total * decay + (sum.x + sum.y + sum.z + sum.w);
        if sums {
            let head = 4u * sum_quad;
            a0 = Eight(a0.low * sh_decay[head], a0.high * sh_decay[head]);
            a1 = Eight(a1.low * sh_decay[head + 1u], a1.high * sh_decay[head + 1u]);
            a2 = Eight(a2.low * sh_decay[head + 2u], a2.high * sh_decay[head + 2u]);
            a3 = Eight(a3.low * sh_decay[head + 3u], a3.high * sh_decay[head + 3u]);
            // Groups beyond the last slot of a short step are empty.
            for (var g = 0u; g < min(16u, range.y - first); g += 1u) {
                let p0 = sh_scores[head * 16u + g];
                let p1 = sh_scores[head * 16u + 16u + g];
                let p2 = sh_scores[head * 16u + 32u + g];
                let p3 = sh_scores[head * 16u + 48u + g];
                for (var i = 0u; i < 4u; i += 1u) {
                    let v = row_eight(sh_row[g + 16u * i] & ~UNFILLED, column);
                    a0 = Eight(a0.low + p0[i] * v.low, a0.high + p0[i] * v.high);
                    a1 = Eight(a1.low + p1[i] * v.low, a1.high + p1[i] * v.high);
                    a2 = Eight(a2.low + p2[i] * v.low, a2.high + p2[i] * v.high);
                    a3 = Eight(a3.low + p3[i] * v.low, a3.high + p3[i] * v.high);
                }
            }
        }
        workgroupBarrier();
    }

    if rg == 0u {
        keep_stats(t, wid.y, first_head, soft_head, largest, total);
    }
    workgroupBarrier();
    if sums && (DIRECT || range.x < range.y) {
        let head = 4u * sum_quad;
        keep_sums(t, wid.y, first_head, head, column, a0.low, a0.high);
        keep_sums(t, wid.y, first_head, head + 1u, column, a1.low, a1.high);
        keep_sums(t, wid.y, first_head, head + 2u, column, a2.low, a2.high);
        keep_sums(t, wid.y, first_head, head + 3u, column, a3.low, a3.high);
    }
}
