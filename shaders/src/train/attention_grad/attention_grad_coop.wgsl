// Gradients of attention with cooperative matrices: of queries, or of keys and values.
//
//   p[t, s] = 2^(scale · q[t] · k[s] - l[t]);  d[t, s] = p[t, s] · (do[t] · v[s] - D[t]);
//   dq[t] = σ Σ_s d[t, s] k[s];  dk[s] = σ Σ_t d[t, s] q[t];  dv[s] = Σ_t p[t, s] do[t]
//
// Grid: wid.x counts tiles of OWN rows, those with most to do first; wid.y is the head, wid.z the sequence.
// A subgroup keeps 16 · ROW_TILES rows of its side and their sums in registers. STEP rows of the other side at a time pass through workgroup memory
// as f16, which has two places for those that are needed again. Each turn has two phases: the sums of the turn before with the two products of this
// one; then, by lanes, products become p and d.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; QK, V and STEP multiples of 16.
// Numerics: f16 factors of products, p and d among them; f32 sums in a fixed order.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;
alias SumsQk = array<MatC, SUMS_QK>;
alias SumsV = array<MatC, SUMS_V>;

const WG_SIZE: u32 = SUBGROUPS * LANES;
const ROWS: u32 = 16u * ROW_TILES;
const OWN: u32 = SUBGROUPS * ROWS;
// Vectors of four between rows in workgroup memory; the padding spreads them over the banks.
const QK_ROW: u32 = QK / 4u + 2u;
const V_ROW: u32 = V / 4u + 2u;
const P_ROW: u32 = STEP / 4u + 2u;
const S_ROW: u32 = STEP / 4u + 1u;
// Where the other side's values, d and p lie behind its rows of width QK. Of values, queries need one place alone, and no p.
const V_AT: u32 = 2u * STEP * QK_ROW;
const D_AT: u32 = V_AT + V_PLACES * STEP * V_ROW;
const P_AT: u32 = D_AT + OWN * P_ROW;
// Lanes that share a row stand 16 apart.
const ROW_LANES: u32 = LANES / 16u;
// Tiles of 16 columns that a patch of products holds.
const PATCH: u32 = STEP / 16u;

var<workgroup> sh_halves: array<vec4<f16>, HALVES>;
// q · k, and behind it do · v.
var<workgroup> sh_products: array<vec4<f32>, 2u * OWN * S_ROW>;
// Of the columns, where those are queries.
var<workgroup> sh_log: array<vec4<f32>, STEP / 4u>;
var<workgroup> sh_dot: array<vec4<f32>, STEP / 4u>;
var<workgroup> sh_words: array<vec4<u32>, OWN_WORDS * STEP / 4u>;

struct Others {
    qk: array<vec4<f32>, QK_LOADS>,
    v: array<vec4<f32>, V_LOADS>,
}

struct Own {
    qk: array<MatA, OWN_QK>,
    v: array<MatA, OWN_V>,
}

// What a lane knows of its rows, where those are queries.
struct Rows {
    stats: array<vec2<f32>, ROW_TILES>,
    words: array<u32, ROW_TILES>,
}

fn own_qk(at: u32) -> vec4<f32> {
    if OWN_KEYS {
        return k[at];
    }
    return q[at];
}

fn own_v(at: u32) -> vec4<f32> {
    if OWN_KEYS {
        return v[at];
    }
    return d_o[at];
}

fn other_qk(at: u32) -> vec4<f32> {
    if OWN_KEYS {
        return q[at];
    }
    return k[at];
}

fn other_v(at: u32) -> vec4<f32> {
    if OWN_KEYS {
        return d_o[at];
    }
    return v[at];
}

fn fetch_others(first: u32, b: u32, h: u32, lid: u32) -> Others {
    var found: Others;
    for (var n = 0u; n < QK_LOADS; n += 1u) { // unrolled
        let i = min(lid + n * WG_SIZE, STEP * (QK / 4u) - 1u);
        found.qk[n] = other_qk(row_at(b, first + i / (QK / 4u), h) * (QK / 4u) + i % (QK / 4u));
    }
    for (var n = 0u; n < V_LOADS; n += 1u) { // unrolled
        let i = min(lid + n * WG_SIZE, STEP * (V / 4u) - 1u);
        found.v[n] = other_v(row_at(b, first + i / (V / 4u), h) * (V / 4u) + i % (V / 4u));
    }
    return found;
}

fn put_qk(found: Others, place: u32, lid: u32) {
    var others = found;
    for (var n = 0u; n < QK_LOADS; n += 1u) { // unrolled
        let i = lid + n * WG_SIZE;
        if i < STEP * (QK / 4u) {
            sh_halves[(place * STEP + i / (QK / 4u)) * QK_ROW + i % (QK / 4u)] = vec4<f16>(others.qk[n]);
        }
    }
}

fn put_v(found: Others, place: u32, lid: u32) {
    var others = found;
    for (var n = 0u; n < V_LOADS; n += 1u) { // unrolled
        let i = lid + n * WG_SIZE;
        if i < STEP * (V / 4u) {
            sh_halves[V_AT + (place * STEP + i / (V / 4u)) * V_ROW + i % (V / 4u)] = vec4<f16>(others.v[n]);
        }
    }
}

fn load_own(own: u32, b: u32, h: u32, first_row: u32, lid: u32) -> Own {
    var found: Own;
    for (var i = lid; i < OWN * (QK / 4u); i += WG_SIZE) {
        let quad = own_qk(row_at(b, own + i / (QK / 4u), h) * (QK / 4u) + i % (QK / 4u));
        sh_halves[i / (QK / 4u) * QK_ROW + i % (QK / 4u)] = vec4<f16>(quad * params.scale);
    }
    workgroupBarrier();
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        for (var d = 0u; d < QK_TILES; d += 1u) { // unrolled
            found.qk[r * QK_TILES + d] = coopLoadT<MatA>(&sh_halves[(first_row + 16u * r) * QK_ROW + 4u * d], QK_ROW);
        }
    }
    workgroupBarrier();
    for (var i = lid; i < OWN * (V / 4u); i += WG_SIZE) {
        let quad = own_v(row_at(b, own + i / (V / 4u), h) * (V / 4u) + i % (V / 4u));
        sh_halves[i / (V / 4u) * V_ROW + i % (V / 4u)] = vec4<f16>(quad);
    }
    workgroupBarrier();
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        for (var d = 0u; d < V_TILES; d += 1u) { // unrolled
            found.v[r * V_TILES + d] = coopLoadT<MatA>(&sh_halves[(first_row + 16u * r) * V_ROW + 4u * d], V_ROW);
        }
    }
    workgroupBarrier();
    return found;
}

// Leaves the products of own rows with those of the places in workgroup memory.
fn multiply(loaded: Own, place: u32, v_place: u32, first_row: u32) {
    var own = loaded;
    for (var n = 0u; n < STEP_TILES; n += 1u) { // unrolled
        for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
            var s = MatC();
            for (var d = 0u; d < QK_TILES; d += 1u) { // unrolled
                let others = coopLoad<MatB>(&sh_halves[(place * STEP + 16u * n) * QK_ROW + 4u * d], QK_ROW);
                s = coopMultiplyAdd(own.qk[r * QK_TILES + d], others, s);
            }
            coopStoreT(s, &sh_products[(first_row + 16u * r) * S_ROW + 4u * n], S_ROW);
            var e = MatC();
            for (var d = 0u; d < V_TILES; d += 1u) { // unrolled
                let others = coopLoad<MatB>(&sh_halves[V_AT + (v_place * STEP + 16u * n) * V_ROW + 4u * d], V_ROW);
                e = coopMultiplyAdd(own.v[r * V_TILES + d], others, e);
            }
            coopStoreT(e, &sh_products[(OWN + first_row + 16u * r) * S_ROW + 4u * n], S_ROW);
        }
    }
}

// Adds d times the other rows of width QK, and p times those of width V.
fn add(sums_qk: ptr<function, SumsQk>, sums_v: ptr<function, SumsV>, place: u32, first_row: u32) {
    for (var n = 0u; n < STEP_TILES; n += 1u) { // unrolled
        for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
            let factors = coopLoadT<MatA>(&sh_halves[D_AT + (first_row + 16u * r) * P_ROW + 4u * n], P_ROW);
            for (var c = 0u; c < QK_TILES; c += 1u) { // unrolled
                let others = coopLoadT<MatB>(&sh_halves[(place * STEP + 16u * n) * QK_ROW + 4u * c], QK_ROW);
                (*sums_qk)[r * QK_TILES + c] = coopMultiplyAdd(factors, others, (*sums_qk)[r * QK_TILES + c]);
            }
        }
        if OWN_KEYS {
            for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
                let factors = coopLoadT<MatA>(&sh_halves[P_AT + (first_row + 16u * r) * P_ROW + 4u * n], P_ROW);
                for (var c = 0u; c < KEPT_V; c += 1u) { // unrolled
                    let others = coopLoadT<MatB>(&sh_halves[V_AT + (place * STEP + 16u * n) * V_ROW + 4u * c], V_ROW);
                    (*sums_v)[r * KEPT_V + c] = coopMultiplyAdd(factors, others, (*sums_v)[r * KEPT_V + c]);
                }
            }
        }
    }
}

// Turns products into p and d.
fn differentiate(known: Rows, own: u32, first_row: u32, lane: u32) {
    var rows = known;
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        let row = first_row + 16u * r + lane % 16u;
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            let four = j * ROW_LANES + lane / 16u;
            let s = sh_products[row * S_ROW + four];
            let e = sh_products[(OWN + row) * S_ROW + four];
            var logs = vec4(rows.stats[r].x);
            var dots = vec4(rows.stats[r].y);
            var bits = vec4(rows.words[r] >> (4u * four)) >> vec4(0u, 1u, 2u, 3u);
            if OWN_KEYS {
                logs = sh_log[four];
                dots = sh_dot[four];
                bits = sh_words[(row / 32u * STEP) / 4u + four] >> vec4((own + row) % 32u);
            }
            let p = select(vec4(0.0), exp2(s - logs), (bits & vec4(1u)) == vec4(1u));
            sh_halves[D_AT + row * P_ROW + four] = vec4<f16>(p * (e - dots));
            if OWN_KEYS {
                sh_halves[P_AT + row * P_ROW + four] = vec4<f16>(p);
            }
        }
    }
}

// Writes 16 · count rows and columns of sums times a factor, `width` values to a row, through the subgroup's patch.
fn write_patch(tiles: u32, column: u32, factor: f32, to: u32, width: u32, own: u32, b: u32, h: u32, row: u32, lane: u32) {
    workgroupBarrier();
    let t = own + row + lane % 16u;
    if t < params.t {
        for (var i = lane / 16u; i < 4u * tiles; i += ROW_LANES) {
            let value = sh_products[(row + lane % 16u) * S_ROW + i] * factor;
            let at = to + row_at(b, t, h) * width + 16u * column + 4u * i;
            gradients[at] = value.x;
            gradients[at + 1u] = value.y;
            gradients[at + 2u] = value.z;
            gradients[at + 3u] = value.w;
        }
    }
    workgroupBarrier();
}

fn write_sums(sums_qk: ptr<function, SumsQk>, sums_v: ptr<function, SumsV>, own: u32, b: u32, h: u32, first_row: u32, lane: u32) {
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        let row = first_row + 16u * r;
        for (var c = 0u; c < QK_TILES; c += 1u) { // unrolled
            let tile = (*sums_qk)[r * QK_TILES + c];
            coopStoreT(tile, &sh_products[row * S_ROW + 4u * (c % PATCH)], S_ROW);
            if c % PATCH == PATCH - 1u || c == QK_TILES - 1u {
                write_patch(c % PATCH + 1u, c - c % PATCH, params.scale * LN_2, 0u, QK, own, b, h, row, lane);
            }
        }
        if OWN_KEYS {
            for (var c = 0u; c < KEPT_V; c += 1u) { // unrolled
                let tile = (*sums_v)[r * KEPT_V + c];
                coopStoreT(tile, &sh_products[row * S_ROW + 4u * (c % PATCH)], S_ROW);
                if c % PATCH == PATCH - 1u || c == KEPT_V - 1u {
                    write_patch(c % PATCH + 1u, c - c % PATCH, 1.0, params.second, V, own, b, h, row, lane);
                }
            }
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let h = wid.y;
    let b = wid.z;
    let own = OWN * select(grid.x - 1u - wid.x, wid.x, OWN_KEYS);
    let lane = lid % LANES;
    let first_row = lid / LANES * ROWS;
    var first = own / STEP * STEP;
    var end = params.t;
    if !OWN_KEYS {
        first = first_key(b, own) / STEP * STEP;
        end = min(own + OWN, params.t);
    }
    var others = fetch_others(first, b, h, lid);
    let mine = load_own(own, b, h, first_row, lid);
    put_qk(others, 0u, lid);
    put_v(others, 0u, lid);
    var sums_qk: SumsQk;
    for (var i = 0u; i < SUMS_QK; i += 1u) { // unrolled
        sums_qk[i] = MatC();
    }
    var sums_v: SumsV;
    for (var i = 0u; i < SUMS_V; i += 1u) { // unrolled
        sums_v[i] = MatC();
    }
    var rows: Rows;
    for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
        rows.stats[r] = stats_of(b, own + first_row + 16u * r + lane % 16u, h);
    }
    workgroupBarrier();

    var turn = 0u;
    var is_past = false;
    for (var other = first; other < end && !is_past; other += STEP) {
        let place = turn % 2u;
        // The next turn's, whether or not there is one: rows past the end are clamped.
        others = fetch_others(other + STEP, b, h, lid);
        if OWN_KEYS {
            is_past = other + STEP < end && past(b, min(other + STEP, params.t - 1u), own + OWN - 1u);
            if lid < STEP {
                let found = stats_of(b, other + lid, h);
                sh_log[lid / 4u][lid % 4u] = found.x;
                sh_dot[lid / 4u][lid % 4u] = found.y;
            }
            for (var i = lid; i < OWN_WORDS * STEP; i += WG_SIZE) {
                sh_words[i / 4u][i % 4u] = visible_word(b, other + i % STEP, own / 32u + i / STEP);
            }
        } else {
            for (var r = 0u; r < ROW_TILES; r += 1u) { // unrolled
                rows.words[r] = visible_word(b, own + first_row + 16u * r + lane % 16u, other / 32u) >> (other % 32u);
            }
        }
        if turn > 0u {
            add(&sums_qk, &sums_v, 1u - place, first_row);
        }
        multiply(mine, place, place % V_PLACES, first_row);
        workgroupBarrier();
        // Nobody reads the other place any more, nor, where values have one place alone, that one.
        put_qk(others, 1u - place, lid);
        put_v(others, (1u - place) % V_PLACES, lid);
        differentiate(rows, own, first_row, lane);
        workgroupBarrier();
        turn += 1u;
    }
    add(&sums_qk, &sums_v, (turn + 1u) % 2u, first_row);
    write_sums(&sums_qk, &sums_v, own, b, h, first_row, lane);
}
