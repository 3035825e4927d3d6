// o[t] = Σ_s softmax_s(scale · q[t] · k[s]) · v[s] over the keys that t sees, with cooperative matrices.
//
// Grid: wid.x counts tiles of QUERIES tokens from the last, which sees most; wid.y is the head, wid.z the sequence.
// A subgroup keeps 16 · ROW_TILES queries and their sums in registers. KEYS keys at a time pass through workgroup memory as f16. Each turn has two
// phases: the products of the turn before with its values and of the queries with these keys; then, by lanes, scores become probabilities. The
// keys of the next turn take their place meanwhile, and values have two places.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; QK, V and KEYS multiples of 16.
// Numerics: f16 products of the scaled query, keys, values and probabilities; f32 sums. The maximum that exponents refer to is raised only when
// scores exceed it by more than SLACK: sums in registers are rarely rescaled, and a probability stays below 2^SLACK. A token that sees nothing gets
// zeros, and +3e38 as its logarithm.

struct Params {
    t: u32,
    h: u32,
    // The softmax scale times log2(e): exponentials are powers of two.
    scale: f32,
}

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(4) var<storage, read_write> o: array<vec4<f32>>; // (B, T, H, V) f32
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (B, H, T) f32, natural logarithm of the sum of exponentials
@group(0) @binding(6) var<storage, read> params: Params;

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;
alias Sums = array<MatC, SUM_TILES>;
alias Queries = array<MatA, QUERY_TILES>;

const LOWEST: f32 = -3e38;
const SLACK: f32 = 8.0;
const WG_SIZE: u32 = SUBGROUPS * LANES;
const ROWS: u32 = 16u * ROW_TILES;
const QUERIES: u32 = SUBGROUPS * ROWS;
// Vectors of four between rows in workgroup memory; the padding spreads them over the banks.
const QK_ROW: u32 = QK / 4u + 2u;
const V_ROW: u32 = V / 4u + 2u;
const P_ROW: u32 = KEYS / 4u + 2u;
// Where values and probabilities lie behind the keys.
const V_AT: u32 = KEYS * QK_ROW;
const P_AT: u32 = V_AT + 2u * KEYS * V_ROW;
// Tiles of 16 columns that a patch of scores holds, and patches for all columns.
const PATCH: u32 = KEYS / 16u;
// Lanes that share a row, and the vectors of each.
const ROW_LANES: u32 = LANES / 16u;

var<workgroup> sh_halves: array<vec4<f16>, HALVES>;
var<workgroup> sh_scores: array<vec4<f32>, QUERIES * P_ROW>;
// The last turn, counted from 1, that raised a maximum.
var<workgroup> sh_raised: atomic<u32>;

struct Keys {
    quads: array<vec4<f32>, K_LOADS>,
}

struct Values {
    quads: array<vec4<f32>, V_LOADS>,
}

// What a lane knows of its rows.
struct Rows {
    largest: array<f32, ROW_TILES>,
    total: array<f32, ROW_TILES>,
    factor: array<f32, ROW_TILES>,
}

fn row_at(b: u32, t: u32, h: u32) -> u32 {
    return (b * params.t + min(t, params.t - 1u)) * params.h + h;
}

fn fetch_keys(s0: u32, b: u32, h: u32, lid: u32) -> Keys {
    var found: Keys;
    for (var n = 0u; n < K_LOADS; n += 1u) { // unrolled
        let i = min(lid + n * WG_SIZE, KEYS * (QK / 4u) - 1u);
        found.quads[n] = k[row_at(b, s0 + i / (QK / 4u), h) * (QK / 4u) + i % (QK / 4u)];
    }
    return found;
}

fn put_keys(found: Keys, lid: u32) {
    var keys = found;
    for (var n = 0u; n < K_LOADS; n += 1u) { // unrolled
        let i = lid + n * WG_SIZE;
        if i < KEYS * (QK / 4u) {
            sh_halves[i / (QK / 4u) * QK_ROW + i % (QK / 4u)] = vec4<f16>(keys.quads[n]);
        }
    }
}

fn fetch_values(s0: u32, b: u32, h: u32, lid: u32) -> Values {
    var found: Values;
    for (var n = 0u; n < V_LOADS; n += 1u) { // unrolled
        let i = min(lid + n * WG_SIZE, KEYS * (V / 4u) - 1u);
        found.quads[n] = v[row_at(b, s0 + i / (V / 4u), h) * (V / 4u) + i % (V / 4u)];
    }
    return found;
}

fn put_values(found: Values, place: u32, lid: u32) {
    var values = found;
    for (var n = 0u; n < V_LOADS; n += 1u) { // unrolled
        let i = lid + n * WG_SIZE;
        if i < KEYS * (V / 4u) {
            sh_halves[V_AT + place * KEYS * V_ROW + i / (V / 4u) * V_ROW + i % (V / 4u)] = vec4<f16>(values.quads[n]);
        }
    }
}

fn load_queries(t0: u32, b: u32, h: u32, first_row: u32, lid: u32) -> Queries {
    for (var i = lid; i < QUERIES * (QK / 4u); i += WG_SIZE) {
        let quad = q[row_at(b, t0 + i / (QK / 4u), h) * (QK / 4u) + i % (QK / 4u)];
        sh_halves[i / (QK / 4u) * QK_ROW + i % (QK / 4u)] = vec4<f16>(quad * params.scale);
    }
    workgroupBarrier();
    var found: Queries;
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        for (var d = 0u; d < QK_TILES; d += 1u) { // unrolled
            found[r * QK_TILES + d] = coopLoadT<MatA>(&sh_halves[(first_row + 16u * r) * QK_ROW + 4u * d], QK_ROW);
        }
    }
    workgroupBarrier();
    return found;
}

// Leaves the scores of these keys in workgroup memory.
fn score(loaded: Queries, first_row: u32) {
    var queries = loaded;
    for (var n = 0u; n < KEY_TILES; n += 1u) { // unrolled
        var scores: array<MatC, ROW_TILES>;
        for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
            scores[r] = MatC();
        }
        for (var d = 0u; d < QK_TILES; d += 1u) { // unrolled
            let keys = coopLoad<MatB>(&sh_halves[16u * n * QK_ROW + 4u * d], QK_ROW);
            for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
                scores[r] = coopMultiplyAdd(queries[r * QK_TILES + d], keys, scores[r]);
            }
        }
        for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
            let tile = scores[r];
            coopStoreT(tile, &sh_scores[(first_row + 16u * r) * P_ROW + 4u * n], P_ROW);
        }
    }
}

// Adds probabilities times the values of a place.
fn add_values(sums: ptr<function, Sums>, place: u32, first_row: u32) {
    for (var n = 0u; n < KEY_TILES; n += 1u) { // unrolled
        var p: array<MatA, ROW_TILES>;
        for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
            p[r] = coopLoadT<MatA>(&sh_halves[P_AT + (first_row + 16u * r) * P_ROW + 4u * n], P_ROW);
        }
        for (var c = 0u; c < V_TILES; c += 1u) { // unrolled
            let values = coopLoadT<MatB>(&sh_halves[V_AT + (place * KEYS + 16u * n) * V_ROW + 4u * c], V_ROW);
            for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
                (*sums)[r * V_TILES + c] = coopMultiplyAdd(p[r], values, (*sums)[r * V_TILES + c]);
            }
        }
    }
}

// Turns the scores of a lane's rows into probabilities.
fn soften(rows: ptr<function, Rows>, words: array<u32, WORDS>, first_row: u32, lane: u32, turn: u32) {
    var visible = words;
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        let at = (first_row + 16u * r + lane / ROW_LANES) * P_ROW + lane % ROW_LANES;
        var s: array<vec4<f32>, SHARE>;
        var most = LOWEST;
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            let key = 4u * (j * ROW_LANES + lane % ROW_LANES);
            let bits = visible[r * KEY_WORDS + j * ROW_LANES / 8u] >> (key % 32u);
            let seen = (vec4(bits) & vec4(1u, 2u, 4u, 8u)) != vec4(0u);
            s[j] = select(vec4(LOWEST), sh_scores[at + j * ROW_LANES], seen);
            most = max(most, max(max(s[j].x, s[j].y), max(s[j].z, s[j].w)));
        }
        for (var mask = 1u; mask < ROW_LANES; mask *= 2u) {
            most = max(most, subgroupShuffleXor(most, mask));
        }
        let before = (*rows).largest[r];
        let largest = select(before, most, most > before + SLACK);
        // A row that has seen nothing yet has no maximum to refer to.
        let reference = max(largest, -1e30);
        let factor = exp2(before - largest);
        if before > -1e30 && largest > before {
            atomicStore(&sh_raised, turn + 1u);
        }
        var total = (*rows).total[r] * factor;
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            let halves = vec4<f16>(exp2(s[j] - reference));
            sh_halves[P_AT + at + j * ROW_LANES] = halves;
            // The sum is over what will be multiplied: the rounded probabilities.
            total += dot(vec4<f32>(halves), vec4(1.0));
        }
        (*rows).largest[r] = largest;
        (*rows).total[r] = total;
        (*rows).factor[r] = factor;
    }
}

// The sums times a factor for each row, through workgroup memory.
fn rescale(sums: ptr<function, Sums>, factors: array<f32, ROW_TILES>, first_row: u32, lane: u32) {
    var factor = factors;
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        for (var c = 0u; c < V_TILES; c += 1u) { // unrolled
            let before = (*sums)[r * V_TILES + c];
            coopStoreT(before, &sh_scores[first_row * P_ROW], P_ROW);
            workgroupBarrier();
            for (var i = lane % ROW_LANES; i < 4u; i += ROW_LANES) {
                sh_scores[(first_row + lane / ROW_LANES) * P_ROW + i] *= factor[r];
            }
            workgroupBarrier();
            (*sums)[r * V_TILES + c] = coopLoadT<MatC>(&sh_scores[first_row * P_ROW], P_ROW);
            workgroupBarrier();
        }
    }
}

// Divides the sums and writes them with the logarithms, a patch at a time.
fn finish(sums: ptr<function, Sums>, rows: ptr<function, Rows>, t0: u32, b: u32, h: u32, first_row: u32, lane: u32) {
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        let t = t0 + first_row + 16u * r + lane / ROW_LANES;
        var total = (*rows).total[r];
        for (var mask = 1u; mask < ROW_LANES; mask *= 2u) {
            total += subgroupShuffleXor(total, mask);
        }
        let inverse = select(0.0, 1.0 / total, total > 0.0);
        if lane % ROW_LANES == 0u && t < params.t {
            let found = ((*rows).largest[r] + log2(total)) * 0.6931471805599453;
            lse[(b * params.h + h) * params.t + t] = select(-LOWEST, found, total > 0.0);
        }
        for (var c = 0u; c < V_TILES; c += 1u) { // unrolled
            let tile = (*sums)[r * V_TILES + c];
            coopStoreT(tile, &sh_scores[first_row * P_ROW + 4u * (c % PATCH)], P_ROW);
            if c % PATCH == PATCH - 1u || c == V_TILES - 1u {
                workgroupBarrier();
                for (var i = lane % ROW_LANES; i <= 4u * (c % PATCH) + 3u && t < params.t; i += ROW_LANES) {
                    let value = sh_scores[(first_row + lane / ROW_LANES) * P_ROW + i] * inverse;
                    o[row_at(b, t, h) * (V / 4u) + 4u * (c - c % PATCH) + i] = value;
                }
                workgroupBarrier();
            }
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let t0 = QUERIES * (grid.x - 1u - wid.x);
    let h = wid.y;
    let b = wid.z;
    let lane = lid % LANES;
    let first_row = lid / LANES * ROWS;
    let first = first_key(b, t0) / KEYS * KEYS;
    let end = min(t0 + QUERIES, params.t);
    if lid == 0u {
        atomicStore(&sh_raised, 0u);
    }
    var keys = fetch_keys(first, b, h, lid);
    var values = fetch_values(first, b, h, lid);
    let queries = load_queries(t0, b, h, first_row, lid);
    put_keys(keys, lid);
    var sums: Sums;
    for (var i = 0u; i < SUM_TILES; i += 1u) { // unrolled
        sums[i] = MatC();
    }
    var rows: Rows;
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        rows.largest[r] = LOWEST;
        rows.total[r] = 0.0;
        rows.factor[r] = 1.0;
    }
    workgroupBarrier();

    var turn = 0u;
    for (var s0 = first; s0 < end; s0 += KEYS) {
        put_values(values, turn % 2u, lid);
        // The next turn's, whether or not there is one: rows past the end are clamped.
        keys = fetch_keys(s0 + KEYS, b, h, lid);
        var words: array<u32, WORDS>;
        for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
            for (var n = 0u; n < KEY_WORDS; n += 1u) { // unrolled
                let word = visible_word(b, t0 + first_row + 16u * r + lane / ROW_LANES, s0 / 32u + n);
                words[r * KEY_WORDS + n] = word >> (s0 % 32u);
            }
        }
        if turn > 0u {
            if atomicLoad(&sh_raised) == turn {
                rescale(&sums, rows.factor, first_row, lane);
            }
            add_values(&sums, (turn + 1u) % 2u, first_row);
        }
        score(queries, first_row);
        workgroupBarrier();
        put_keys(keys, lid);
        values = fetch_values(s0 + KEYS, b, h, lid);
        soften(&rows, words, first_row, lane, turn);
        workgroupBarrier();
        turn += 1u;
    }
    if atomicLoad(&sh_raised) == turn {
        rescale(&sums, rows.factor, first_row, lane);
    }
    add_values(&sums, (turn + 1u) % 2u, first_row);
    finish(&sums, &rows, t0, b, h, first_row, lane);
}
