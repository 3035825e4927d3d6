// Gradients of attention in f32, 32 rows of one head for each workgroup: of queries, or of keys and values.
//
//   p[t, s] = 2^(scale · q[t] · k[s] - l[t]);  d[t, s] = p[t, s] · (do[t] · v[s] - D[t]);
//   dq[t] = σ Σ_s d[t, s] k[s];  dk[s] = σ Σ_t d[t, s] q[t];  dv[s] = Σ_t p[t, s] do[t]
//
// Grid: wid.x counts tiles of 32 rows, those with most to do first; wid.y is the head, wid.z the sequence.
// The workgroup keeps the sums of its own rows; tiles of 32 rows of the other side stream by, and probabilities are formed again.
// Requires: nothing beyond the base tier; QK and V multiples of 16.
// Numerics: f32, in a fixed order.

const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const VALUE: u32 = 2u;
const OUTPUT: u32 = 3u;
// Own rows and the others, in the widths QK and V.
const OWN_QK: u32 = select(QUERY, KEY, OWN_KEYS);
const OWN_V: u32 = select(OUTPUT, VALUE, OWN_KEYS);
const OTHER_QK: u32 = select(KEY, QUERY, OWN_KEYS);
const OTHER_V: u32 = select(VALUE, OUTPUT, OWN_KEYS);

var<workgroup> sh_stats: array<vec2<f32>, 32>;
var<workgroup> sh_words: array<u32, 32>;

// `place` is sequence and head.
fn fetch(source: u32, row: u32, quad: u32, place: vec2<u32>) -> vec4<f32> {
    let at = row_at(place.x, row, place.y);
    switch source {
        case QUERY: {
            return q[at * (QK / 4u) + quad];
        }
        case KEY: {
            return k[at * (QK / 4u) + quad];
        }
        case VALUE: {
            return v[at * (V / 4u) + quad];
        }
        default: {
            return d_o[at * (V / 4u) + quad];
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let place = wid.zy;
    let own = TILE * select(grid.x - 1u - wid.x, wid.x, OWN_KEYS);
    var first = own;
    var end = params.t;
    if !OWN_KEYS {
        first = first_key(place.x, own) / TILE * TILE;
        end = min(own + TILE, params.t);
    }
    var sums_qk: array<Columns, QK_CHUNKS>;
    var sums_v: array<Columns, V_CHUNKS>;
    for (var c = 0u; c < QK_CHUNKS; c += 1u) { // unrolled
        sums_qk[c] = Columns();
    }
    for (var c = 0u; c < V_CHUNKS; c += 1u) { // unrolled
        sums_v[c] = Columns();
    }
    for (var other = first; other < end; other += TILE) {
        if OWN_KEYS && past(place.x, other, own + TILE - 1u) {
            break;
        }
        let t0 = select(own, other, OWN_KEYS);
        let s0 = select(other, own, OWN_KEYS);
        if lid < TILE {
            sh_stats[lid] = stats_of(place.x, t0 + lid, place.y);
            sh_words[lid] = visible_word(place.x, t0 + lid, s0 / 32u);
        }
        var p = products(OWN_QK, own, OTHER_QK, other, QK / 16u, place, lid);
        var d = products(OWN_V, own, OTHER_V, other, V / 16u, place, lid);
        for (var i = 0u; i < 16u; i += 1u) {
            let row = lid / 8u + i / 4u * 8u;
            let column = lid % 8u + i % 4u * 8u;
            let t = select(row, column, OWN_KEYS);
            let s = select(column, row, OWN_KEYS);
            let of_row = sh_stats[t];
            p[i] = select(0.0, exp2(params.scale * p[i] - of_row.x), ((sh_words[t] >> s) & 1u) == 1u);
            d[i] = p[i] * (d[i] - of_row.y);
        }
        if OWN_KEYS {
            put_all(p, lid);
            for (var c = 0u; c < V_CHUNKS; c += 1u) { // unrolled
                let more = rows_times(OTHER_V, other, c, place, lid);
                for (var i = 0u; i < 4u; i += 1u) {
                    sums_v[c][i] += more[i];
                }
            }
        }
        put_all(d, lid);
        for (var c = 0u; c < QK_CHUNKS; c += 1u) { // unrolled
            let more = rows_times(OTHER_QK, other, c, place, lid);
            for (var i = 0u; i < 4u; i += 1u) {
                sums_qk[c][i] += more[i];
            }
        }
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = own + lid / 8u + 8u * i;
        if row < params.t {
            let at = row_at(place.x, row, place.y);
            for (var c = 0u; c < QK_CHUNKS; c += 1u) { // unrolled
                let to = at * QK + 16u * c + 2u * (lid % 8u);
                gradients[to] = sums_qk[c][i].x * (params.scale * LN_2);
                gradients[to + 1u] = sums_qk[c][i].y * (params.scale * LN_2);
            }
            if OWN_KEYS {
                for (var c = 0u; c < V_CHUNKS; c += 1u) { // unrolled
                    let to = params.second + at * V + 16u * c + 2u * (lid % 8u);
                    gradients[to] = sums_v[c][i].x;
                    gradients[to + 1u] = sums_v[c][i].y;
                }
            }
        }
    }
}
