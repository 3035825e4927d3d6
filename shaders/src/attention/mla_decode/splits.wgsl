// One head of a query combined from its splits: Σ_splits 2^(m - M) · a / Σ_splits 2^(m - M) · l, with M the largest m.
// Needs LATENT, WG_SIZE, PARTS, BATCH, MAX_SPLITS at most WG_SIZE, and the numbers n_splits and padded_heads of params.

@group(0) @binding(0) var<storage, read> partials: array<vec4<f32>>; // (T, SPLITS, H, C) f32
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>; // (T, SPLITS, H) maximum and sum

const COLUMNS: u32 = LATENT / 4u / PARTS;
const GROUPS: u32 = WG_SIZE / COLUMNS;

var<workgroup> sh_stats: array<vec2<f32>, MAX_SPLITS>;
// 2^(m - M) of each split.
var<workgroup> sh_weights: array<f32, MAX_SPLITS>;
var<workgroup> sh_sums: array<vec4<f32>, WG_SIZE>;

// Columns 4 · COLUMNS · part … of the head, four for each of the first COLUMNS invocations; zeros where every split is empty.
fn combine_splits(lid: u32, t: u32, h: u32, part: u32) -> vec4<f32> {
    if lid < params.n_splits {
        sh_stats[lid] = stats[(t * params.n_splits + lid) * params.padded_heads + h];
    }
    workgroupBarrier();
    var largest = -3e38;
    var filled = 0u;
    for (var i = 0u; i < params.n_splits; i += 1u) {
        let of_split = sh_stats[i];
        largest = max(largest, select(-3e38, of_split.x, of_split.y > 0.0));
        filled = select(filled, i + 1u, of_split.y > 0.0);
    }
    if lid < params.n_splits {
        sh_weights[lid] = select(0.0, exp2(sh_stats[lid].x - largest), lid < filled);
    }
    workgroupBarrier();
    let column = part * COLUMNS + lid % COLUMNS;
    let group = lid / COLUMNS;
    var sum = vec4(0.0);
    if group < GROUPS {
        // BATCH splits at a time, so that their loads overlap.
        for (var first = group; first < filled; first += BATCH * GROUPS) {
            var values: array<vec4<f32>, BATCH>;
            for (var k = 0u; k < BATCH; k += 1u) { // unrolled
                let split = min(first + k * GROUPS, filled - 1u);
                values[k] = partials[((t * params.n_splits + split) * params.padded_heads + h) * (LATENT / 4u) + column];
            }
            for (var k = 0u; k < BATCH; k += 1u) { // unrolled
                if first + k * GROUPS < filled {
                    sum += sh_weights[first + k * GROUPS] * values[k];
                }
            }
        }
    }
    sh_sums[lid] = sum;
    workgroupBarrier();
    if lid >= COLUMNS {
        return vec4(0.0);
    }
    for (var g = 1u; g < GROUPS; g += 1u) {
        sum += sh_sums[g * COLUMNS + lid];
    }
    var total = 0.0;
    for (var i = 0u; i < filled; i += 1u) {
        total += sh_weights[i] * sh_stats[i].y;
    }
    return sum * select(0.0, 1.0 / total, filled > 0u);
}
