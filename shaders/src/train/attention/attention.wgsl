// o[t] = Σ_s softmax_s(scale · q[t] · k[s]) · v[s] over the keys that t sees, in f32: 32 tokens of one head for each workgroup.
//
// Grid: wid.x counts tiles of 32 tokens from the last, which sees most; wid.y is the head, wid.z the sequence.
// Tiles of 32 keys stream by; maximum and sum of a row stay with two lanes, the sums of values in registers.
// Requires: nothing beyond the base tier; QK and V multiples of 16.
// Numerics: f32; a token that sees nothing gets zeros, and +3e38 as its logarithm.

struct Params {
    t: u32,
    h: u32,
    // The softmax scale times log2(e): exponentials are powers of two.
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(4) var<storage, read_write> o: array<vec2<f32>>; // (B, T, H, V) f32
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (B, H, T) f32, natural logarithm of the sum of exponentials
@group(0) @binding(6) var<storage, read> params: Params;

const LOWEST: f32 = -3e38;
const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const VALUE: u32 = 2u;

var<workgroup> sh_parts: array<f32, 64>;
var<workgroup> sh_factor: array<f32, 32>;

// `place` is sequence and head.
fn fetch(source: u32, row: u32, quad: u32, place: vec2<u32>) -> vec4<f32> {
    let at = (place.x * params.t + min(row, params.t - 1u)) * params.h + place.y;
    switch source {
        case QUERY: {
            return q[at * (QK / 4u) + quad];
        }
        case KEY: {
            return k[at * (QK / 4u) + quad];
        }
        default: {
            return v[at * (V / 4u) + quad];
        }
    }
}

// Lane pairs share a row: the larger of both values.
fn larger_of_pair(value: f32, lid: u32) -> f32 {
    sh_parts[lid] = value;
    workgroupBarrier();
    return max(value, sh_parts[lid ^ 1u]);
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let t0 = TILE * (grid.x - 1u - wid.x);
    let place = wid.zy;
    let row = lid / 2u;
    let part = lid % 2u;
    var sums: array<Columns, V_CHUNKS>;
    for (var c = 0u; c < V_CHUNKS; c += 1u) { // unrolled
        sums[c] = Columns();
    }
    var largest = LOWEST;
    var total = 0.0;
    for (var s0 = first_key(place.x, t0) / TILE * TILE; s0 < min(t0 + TILE, params.t); s0 += TILE) {
        put_all(products(QUERY, t0, KEY, s0, QK / 16u, place, lid), lid);
        let bits = visible_word(place.x, t0 + row, s0 / 32u) >> (16u * part);
        let at = row * TILE_ROW + 16u * part;
        var most = LOWEST;
        for (var i = 0u; i < 16u; i += 1u) {
            most = max(most, select(LOWEST, params.scale * sh_tile[at + i], ((bits >> i) & 1u) == 1u));
        }
        let before = largest;
        largest = max(before, larger_of_pair(most, lid));
        // A row that has seen nothing yet has no maximum to refer to.
        let reference = max(largest, -1e30);
        let factor = exp2(before - largest);
        total *= factor;
        for (var i = 0u; i < 16u; i += 1u) {
            let p = select(0.0, exp2(params.scale * sh_tile[at + i] - reference), ((bits >> i) & 1u) == 1u);
            total += p;
            sh_tile[at + i] = p;
        }
        if part == 0u {
            sh_factor[row] = factor;
        }
        workgroupBarrier();
        for (var c = 0u; c < V_CHUNKS; c += 1u) { // unrolled
            let more = rows_times(VALUE, s0, c, place, lid);
            for (var p = 0u; p < 4u; p += 1u) {
                sums[c][p] = sums[c][p] * sh_factor[lid / 8u + 8u * p] + more[p];
            }
        }
    }
    sh_parts[lid] = total;
    workgroupBarrier();
    total += sh_parts[lid ^ 1u];
    if part == 0u {
        sh_factor[row] = select(0.0, 1.0 / total, total > 0.0);
        if t0 + row < params.t {
            let found = (largest + log2(total)) * 0.6931471805599453;
            lse[(place.x * params.h + place.y) * params.t + t0 + row] = select(-LOWEST, found, total > 0.0);
        }
    }
    workgroupBarrier();
    for (var p = 0u; p < 4u; p += 1u) {
        let t = t0 + lid / 8u + 8u * p;
        if t < params.t {
            let at = ((place.x * params.t + t) * params.h + place.y) * (V / 2u) + lid % 8u;
            for (var c = 0u; c < V_CHUNKS; c += 1u) { // unrolled
                o[at + 8u * c] = sums[c][p] * sh_factor[lid / 8u + 8u * p];
            }
        }
    }
}
