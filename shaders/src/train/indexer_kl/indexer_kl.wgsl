// The indexer's loss and gradients in f32, 32 rows for each workgroup: of queries and weights, or of keys.
//
//   p[t, s] = 1/H Σ_h 2^(scale · q[t, h] · k[s, h] - l[t, h]);  I[t, s] = Σ_j w[t, j] · max(0, z_j);  z_j = qi[t, j] · ki[s];
//   loss[t] = Σ_s p ln p - p · (I - log Σ exp I);  g = exp(I) / Σ exp I - p;  u[t, j] = Σ_s g · [z_j > 0] · ki[s];
//   dqi[t, j] = w[t, j] · u[t, j];  dw[t, j] = qi[t, j] · u[t, j];  dki[s] = Σ_t Σ_j g · [z_j > 0] · w[t, j] · qi[t, j]
//
// Grid: wid.x counts tiles of 32 rows, those with most to do first; wid.y is the sequence.
// Tiles of 32 rows of the other side stream by; of each product z the sign alone is kept. The sums u grow in the buffer of gradients, where
// each invocation has values of its own.
// Requires: nothing beyond the base tier; QK and DI multiples of 16, HI of 4.
// Numerics: f32, in a fixed order.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(2) var<storage, read> lse: array<f32>; // (B, H, T) f32, natural logarithm of attention's sums
@group(0) @binding(4) var<storage, read> index: array<vec4<f32>>; // (B, T, HI · DI + DI + HI) f32
@group(0) @binding(5) var<storage, read_write> logs: array<vec2<f32>>; // (B, T, 2) f32, the logarithm of the index in powers of two, and the loss
@group(0) @binding(6) var<storage, read_write> gradients: array<f32>; // (B, T, HI · DI + DI + HI) f32
@group(0) @binding(7) var<storage, read> params: Params;

const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const INDEX_QUERY: u32 = 2u;
const INDEX_KEY: u32 = 3u;
const OWN: u32 = select(QUERY, KEY, OWN_KEYS);
const OTHER: u32 = select(KEY, QUERY, OWN_KEYS);
const OWN_INDEX: u32 = select(INDEX_QUERY, INDEX_KEY, OWN_KEYS);
const OTHER_INDEX: u32 = select(INDEX_KEY, INDEX_QUERY, OWN_KEYS);

var<workgroup> sh_words: array<u32, 32>;
var<workgroup> sh_logs: array<f32, 32>;
// A value for each token of the tile, in two places, so that one is written while the other is read.
var<workgroup> sh_values: array<f32, 64>;
var<workgroup> sh_parts: array<f32, 256>;

// `place` is sequence and head.
fn fetch(source: u32, row: u32, quad: u32, place: vec2<u32>) -> vec4<f32> {
    let token = token_at(place.x, row);
    switch source {
        case QUERY: {
            return q[(token * HEADS + place.y) * (QK / 4u) + quad];
        }
        case KEY: {
            return k[(token * HEADS + place.y) * (QK / 4u) + quad];
        }
        case INDEX_QUERY: {
            return index[token * (INDEX_ROW / 4u) + place.y * (DI / 4u) + quad];
        }
        default: {
            return index[token * (INDEX_ROW / 4u) + KEY_AT / 4u + quad];
        }
    }
}

fn weight(b: u32, t: u32, j: u32) -> f32 {
    return index[token_at(b, t) * (INDEX_ROW / 4u) + (WEIGHTS_AT + j) / 4u][j % 4u];
}

// Row and column of value i of a tile.
fn row_of(lid: u32, i: u32) -> u32 {
    return lid / 8u + i / 4u * 8u;
}

fn column_of(lid: u32, i: u32) -> u32 {
    return lid % 8u + i % 4u * 8u;
}

fn token_of(lid: u32, i: u32) -> u32 {
    return select(row_of(lid, i), column_of(lid, i), OWN_KEYS);
}

fn key_of(lid: u32, i: u32) -> u32 {
    return select(column_of(lid, i), row_of(lid, i), OWN_KEYS);
}

// The sum of four values of each row over the eight invocations that share it, left in sh_parts[8 · row].
fn sum_rows(values: vec4<f32>, lid: u32) {
    for (var p = 0u; p < 4u; p += 1u) {
        sh_parts[(lid / 8u + 8u * p) * 8u + lid % 8u] = values[p];
    }
    workgroupBarrier();
    if lid < TILE {
        var sum = 0.0;
        for (var i = 0u; i < 8u; i += 1u) {
            sum += sh_parts[8u * lid + i];
        }
        sh_parts[8u * lid] = sum;
    }
    workgroupBarrier();
}

// p[t, s] times H, of every pair of the tile.
fn attended(own: u32, other: u32, t0: u32, b: u32, lid: u32) -> Scores {
    var sums: Scores;
    for (var h = 0u; h < HEADS; h += 1u) {
        let at = h % 2u * TILE;
        if lid < TILE {
            sh_values[at + lid] = lse[(b * HEADS + h) * params.t + min(t0 + lid, params.t - 1u)] * LOG2_E;
        }
        var s = products(OWN, own, OTHER, other, QK / 16u, vec2(b, h), lid);
        for (var i = 0u; i < 16u; i += 1u) {
            sums[i] += exp2(params.scale * s[i] - sh_values[at + token_of(lid, i)]);
        }
    }
    workgroupBarrier();
    return sums;
}

// Multiplies the sums u of the workgroup's tokens by their weights, and by their queries for the gradients of the weights.
fn finish_queries(own: u32, b: u32, lid: u32) {
    for (var j = 0u; j < HI; j += 1u) {
        var of_weight = vec4(0.0);
        for (var p = 0u; p < 4u; p += 1u) {
            let t = own + lid / 8u + 8u * p;
            let row = token_at(b, t) * INDEX_ROW;
            if t < params.t {
                for (var c = 0u; c < DI / 16u; c += 1u) {
                    for (var i = 0u; i < 2u; i += 1u) {
                        let at = row + j * DI + 16u * c + 2u * (lid % 8u) + i;
                        let u = gradients[at] * params.coefficient;
                        of_weight[p] += u * index[at / 4u][at % 4u];
                        gradients[at] = u * weight(b, t, j);
                    }
                }
            }
        }
        sum_rows(of_weight, lid);
        if lid < TILE && own + lid < params.t {
            gradients[token_at(b, own + lid) * INDEX_ROW + WEIGHTS_AT + j] = sh_parts[8u * lid];
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let b = wid.y;
    let own = TILE * select(grid.x - 1u - wid.x, wid.x, OWN_KEYS);
    var first = own;
    var end = params.t;
    if !OWN_KEYS {
        // Where all rows are padding, which sees nothing, their own tile alone is gone through: it writes the zeros.
        first = min(first_key(b, own) / TILE * TILE, own);
        end = min(own + TILE, params.t);
    }
    var loss = vec4(0.0);
    var sums: array<Columns, DI_CHUNKS>;
    for (var c = 0u; c < DI_CHUNKS; c += 1u) { // unrolled
        sums[c] = Columns();
    }
    for (var other = first; other < end; other += TILE) {
        if OWN_KEYS && past(b, other, own + TILE - 1u) {
            break;
        }
        let t0 = select(own, other, OWN_KEYS);
        let s0 = select(other, own, OWN_KEYS);
        if lid < TILE {
            sh_words[lid] = visible_word(b, t0 + lid, s0 / 32u);
            sh_logs[lid] = logs[token_at(b, t0 + lid)].x;
        }
        var p = attended(own, other, t0, b, lid);
        var scores: Scores;
        var signs: array<u32, HI>;
        for (var j = 0u; j < HI; j += 1u) {
            let at = j % 2u * TILE;
            if lid < TILE {
                sh_values[at + lid] = weight(b, t0 + lid, j);
            }
            var z = products(OWN_INDEX, own, OTHER_INDEX, other, DI / 16u, vec2(b, j), lid);
            var bits = 0u;
            for (var i = 0u; i < 16u; i += 1u) {
                scores[i] += sh_values[at + token_of(lid, i)] * max(z[i], 0.0);
                bits |= select(0u, 1u << i, z[i] > 0.0);
            }
            signs[j] = bits;
        }
        // From here on `scores` is g.
        for (var i = 0u; i < 16u; i += 1u) {
            let t = token_of(lid, i);
            let seen = ((sh_words[t] >> key_of(lid, i)) & 1u) == 1u;
            let log_of_index = scores[i] - sh_logs[t] * LN_2;
            let share = p[i] / f32(HEADS);
            if seen && share > 0.0 {
                loss[i / 4u] += share * (log(share) - log_of_index);
            }
            scores[i] = select(0.0, exp(log_of_index) - share, seen);
        }
        for (var j = 0u; j < HI; j += 1u) {
            // The columns' weights, which `put_all` makes known.
            let at = j % 2u * TILE;
            if lid < TILE {
                sh_values[at + lid] = select(1.0, weight(b, t0 + lid, j) * params.coefficient, OWN_KEYS);
            }
            workgroupBarrier();
            var signed: Scores;
            for (var i = 0u; i < 16u; i += 1u) {
                let factor = sh_values[at + token_of(lid, i)];
                signed[i] = select(0.0, scores[i] * factor, ((signs[j] >> i) & 1u) == 1u);
            }
            put_all(signed, lid);
            for (var c = 0u; c < DI_CHUNKS; c += 1u) { // unrolled
                let more = rows_times(OTHER_INDEX, other, c, vec2(b, j), lid);
                if OWN_KEYS {
                    for (var i = 0u; i < 4u; i += 1u) {
                        sums[c][i] += more[i];
                    }
                } else {
                    for (var i = 0u; i < 4u; i += 1u) {
                        let t = own + lid / 8u + 8u * i;
                        let to = token_at(b, t) * INDEX_ROW + j * DI + 16u * c + 2u * (lid % 8u);
                        if t < params.t {
                            gradients[to] = select(gradients[to], 0.0, other == first) + more[i].x;
                            gradients[to + 1u] = select(gradients[to + 1u], 0.0, other == first) + more[i].y;
                        }
                    }
                }
            }
        }
    }
    if OWN_KEYS {
        for (var i = 0u; i < 4u; i += 1u) {
            let s = own + lid / 8u + 8u * i;
            if s < params.t {
                for (var c = 0u; c < DI_CHUNKS; c += 1u) { // unrolled
                    let to = token_at(b, s) * INDEX_ROW + KEY_AT + 16u * c + 2u * (lid % 8u);
                    gradients[to] = sums[c][i].x;
                    gradients[to + 1u] = sums[c][i].y;
                }
            }
        }
    } else {
        sum_rows(loss, lid);
        if lid < TILE && own + lid < params.t {
            logs[token_at(b, own + lid)].y = sh_parts[8u * lid];
        }
        workgroupBarrier();
        finish_queries(own, b, lid);
    }
}
