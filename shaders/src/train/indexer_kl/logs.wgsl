// logs[t] = log2 Σ_s exp(I[t, s]) over the keys that t sees, with I[t, s] = Σ_j w[t, j] · max(0, qi[t, j] · ki[s]), in f32.
//
// Grid: wid.x counts tiles of 32 tokens from the last, which sees most; wid.y is the sequence.
// Tiles of 32 keys stream by; each invocation keeps maximum and sum of its columns of four rows, which are put together at the end.
// Requires: nothing beyond the base tier; DI a multiple of 16, HI of 4.
// Numerics: f32.

@group(0) @binding(1) var<storage, read> index: array<vec4<f32>>; // (B, T, HI · DI + DI + HI) f32
@group(0) @binding(2) var<storage, read_write> logs: array<vec2<f32>>; // (B, T, 2) f32, the logarithm in powers of two, and room for the loss
@group(0) @binding(3) var<storage, read> params: Params;

const INDEX_QUERY: u32 = 0u;
const INDEX_KEY: u32 = 1u;

var<workgroup> sh_words: array<u32, 32>;
// Two places, so that one is written while the other is read.
var<workgroup> sh_weights: array<f32, 64>;
var<workgroup> sh_parts: array<vec2<f32>, 256>;

// `place` is sequence and head.
fn fetch(source: u32, row: u32, quad: u32, place: vec2<u32>) -> vec4<f32> {
    let at = token_at(place.x, row) * (INDEX_ROW / 4u) + quad;
    return index[at + select(place.y * (DI / 4u), KEY_AT / 4u, source == INDEX_KEY)];
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let b = wid.y;
    let t0 = TILE * (grid.x - 1u - wid.x);
    var largest = vec4(LOWEST);
    var total = vec4(0.0);
    for (var s0 = first_key(b, t0) / TILE * TILE; s0 < min(t0 + TILE, params.t); s0 += TILE) {
        if lid < TILE {
            sh_words[lid] = visible_word(b, t0 + lid, s0 / 32u);
        }
        var scores: Scores;
        for (var j = 0u; j < HI; j += 1u) {
            let at = j % 2u * TILE;
            if lid < TILE {
                sh_weights[at + lid] = index[token_at(b, t0 + lid) * (INDEX_ROW / 4u) + (WEIGHTS_AT + j) / 4u][j % 4u];
            }
            var z = products(INDEX_QUERY, t0, INDEX_KEY, s0, DI / 16u, vec2(b, j), lid);
            for (var i = 0u; i < 16u; i += 1u) {
                scores[i] += sh_weights[at + lid / 8u + i / 4u * 8u] * max(z[i], 0.0);
            }
        }
        for (var i = 0u; i < 16u; i += 1u) {
            let p = i / 4u;
            if ((sh_words[lid / 8u + p * 8u] >> (lid % 8u + i % 4u * 8u)) & 1u) == 1u {
                let score = scores[i] * LOG2_E;
                let before = largest[p];
                let now = max(before, score);
                total[p] = total[p] * exp2(before - now) + exp2(score - now);
                largest[p] = now;
            }
        }
        workgroupBarrier();
    }
    for (var p = 0u; p < 4u; p += 1u) {
        sh_parts[(lid / 8u + 8u * p) * 8u + lid % 8u] = vec2(largest[p], total[p]);
    }
    workgroupBarrier();
    if lid < TILE && t0 + lid < params.t {
        var most = LOWEST;
        for (var i = 0u; i < 8u; i += 1u) {
            most = max(most, sh_parts[8u * lid + i].x);
        }
        var sum = 0.0;
        for (var i = 0u; i < 8u; i += 1u) {
            sum += sh_parts[8u * lid + i].y * exp2(sh_parts[8u * lid + i].x - most);
        }
        logs[token_at(b, t0 + lid)] = vec2(select(-LOWEST, most + log2(sum), sum > 0.0), 0.0);
    }
}
