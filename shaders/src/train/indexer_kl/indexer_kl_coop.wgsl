// The indexer's loss and gradients with cooperative matrices, 64 rows for each workgroup: of queries and weights, or of keys.
//
// The formulas are those of indexer_kl.wgsl. For each head of attention its probabilities are added, for each head of the index its scores; what
// remains of a product z is its sign. g times the signs of a head are then a factor of a third product, whose sums stay in registers.
// Grid: wid.x counts tiles of 64 rows, those with most to do first; wid.y is the sequence.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; QK and DI multiples of 16, HI of 4.
// Numerics: f16 factors of products; g, which may be as small as 1 / T, times 2^12 as such a factor; f32 sums in a fixed order.

@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>; // (B, T, H, QK) f32
@group(0) @binding(2) var<storage, read> lse: array<f32>; // (B, H, T) f32, natural logarithm of attention's sums
@group(0) @binding(4) var<storage, read> index: array<vec4<f32>>; // (B, T, HI · DI + DI + HI) f32
@group(0) @binding(5) var<storage, read_write> logs: array<vec2<f32>>; // (B, T, 2) f32, the logarithm of the index in powers of two, and the loss
@group(0) @binding(6) var<storage, read_write> gradients: array<f32>; // (B, T, HI · DI + DI + HI) f32
@group(0) @binding(7) var<storage, read> params: Params;

alias Sums = array<MatC, SUM_TILES>;
alias Signs = array<u32, HI>;

const MAGNIFIED: f32 = 4096.0;

fn attention_row(keys: bool, b: u32, row: u32, h: u32, quad: u32) -> vec4<f32> {
    let at = (token_at(b, row) * HEADS + h) * (QK / 4u) + quad;
    if keys {
        return k[at];
    }
    return q[at];
}

fn fetch_attention(h: u32, at: Place, lid: u32) -> Item {
    var found: Item;
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        let place = min(lid + i * WG_SIZE, TILE * (QK / 4u) - 1u);
        found.own[i] = attention_row(OWN_KEYS, at.b, at.own + place / (QK / 4u), h, place % (QK / 4u));
        found.other[i] = attention_row(!OWN_KEYS, at.b, at.other + place / (QK / 4u), h, place % (QK / 4u));
    }
    let t = select(at.own, at.other, OWN_KEYS) + lid % TILE;
    found.value = lse[(at.b * HEADS + h) * params.t + min(t, params.t - 1u)] * LOG2_E;
    return found;
}

// What the tile sees, where its columns are tokens.
fn stage_columns(at: Place, lid: u32) {
    if lid < 2u * TILE {
        sh_words[lid / 4u][lid % 4u] = visible_word(at.b, at.other + lid % TILE, at.own / 32u + lid / TILE);
    }
    if lid < TILE {
        sh_logs[lid / 4u][lid % 4u] = logs[token_at(at.b, at.other + lid)].x;
    }
}

// Turns scores into g times 2^12, from the sums of probabilities, and returns the loss of what the lane sees.
fn differentiate(scores: ptr<function, Quads>, summed: Quads, part: Part, word: u32, own: u32, log_of_row: f32) -> f32 {
    var p = summed;
    var loss = 0.0;
    for (var j = 0u; j < SHARE; j += 1u) { // unrolled
        var log_sum = vec4(log_of_row);
        if OWN_KEYS {
            log_sum = sh_logs[part.columns / 4u + four_of(part, j)];
        }
        let seen = seen_of(part, word, own, j);
        let share = select(vec4(0.0), p[j] / f32(HEADS), seen);
        let log_of_index = (*scores)[j] * LOG2_E - log_sum;
        // log2 of what is no share is finite, and times zero.
        let terms = share * (log2(max(share, vec4(1e-37))) - log_of_index);
        loss += dot(select(vec4(0.0), terms, seen), vec4(LN_2));
        (*scores)[j] = select(vec4(0.0), MAGNIFIED * (exp2(log_of_index) - share), seen);
    }
    return loss;
}

// Leaves g times the signs of a head where the own rows were.
fn put_signed(scores: Quads, signs: u32, part: Part, place: u32) {
    var g = scores;
    for (var j = 0u; j < SHARE; j += 1u) { // unrolled
        let positive = (vec4(signs >> (4u * j)) & vec4(1u, 2u, 4u, 8u)) != vec4(0u);
        var value = select(vec4(0.0), g[j], positive);
        if OWN_KEYS {
            value *= values_of(part, place, j);
        }
        sh_halves[(part.rows + part.lane % 16u) * ROW + part.columns / 4u + four_of(part, j)] = vec4<f16>(value);
    }
}

// Adds the product of what `put_signed` left with one tile of 16 columns of the other rows.
fn add_tile(before: MatC, column: u32, part: Part) -> MatC {
    var sum = before;
    for (var d = 0u; d < 4u; d += 1u) {
        let factors = coopLoadT<MatA>(&sh_halves[part.rows * ROW + 4u * d], ROW);
        let others = coopLoadT<MatB>(&sh_halves[OTHERS + 16u * d * ROW + 4u * column], ROW);
        sum = coopMultiplyAdd(factors, others, sum);
    }
    return sum;
}

fn store_patch(tile: MatC, part: Part) {
    coopStoreT(tile, &sh_patches[part.subgroup * PATCH], PATCH_ROW);
}

// Writes a tile of sums times a factor to columns of a row; returns the products of a lane's values with the query of head j there.
fn write_tile(tile: MatC, part: Part, at: Place, first: u32, column: u32, factor: f32, j: u32) -> f32 {
    var of_weight = 0.0;
    store_patch(tile, part);
    workgroupBarrier();
    let t = at.own + part.rows + part.lane % 16u;
    if t < params.t && column < DI / 16u {
        let row = token_at(at.b, t);
        for (var i = part.lane / 16u; i < 4u; i += ROW_LANES) {
            let value = sh_patches[part.subgroup * PATCH + part.lane % 16u * PATCH_ROW + i] * (params.coefficient / MAGNIFIED);
            let to = row * INDEX_ROW + first + 16u * column + 4u * i;
            gradients[to] = value.x * factor;
            gradients[to + 1u] = value.y * factor;
            gradients[to + 2u] = value.z * factor;
            gradients[to + 3u] = value.w * factor;
            of_weight += dot(value, index_row(false, at.b, t, j, 4u * column + i));
        }
    }
    workgroupBarrier();
    return of_weight;
}

// The sum of a value over the lanes and subgroups that share a row, for the first 64 invocations: those of row lid.
fn sum_row(value: f32, part: Part, lid: u32) -> f32 {
    var sum = value;
    for (var mask = 16u; mask < LANES; mask *= 2u) {
        sum += subgroupShuffleXor(sum, mask);
    }
    if part.lane < 16u {
        sh_sums[part.columns * 2u + part.rows + part.lane].x = sum;
    }
    workgroupBarrier();
    let found = sh_sums[lid % TILE].x + sh_sums[TILE + lid % TILE].x;
    workgroupBarrier();
    return found;
}

fn write_queries(sums: ptr<function, Sums>, part: Part, at: Place, loss: f32, lid: u32) {
    let of_row = sum_row(loss, part, lid);
    if lid < TILE && at.own + lid < params.t {
        logs[token_at(at.b, at.own + lid)].y = of_row;
    }
    for (var j = 0u; j < HI; j += 1u) { // unrolled
        var of_weight = 0.0;
        let factor = weight(at.b, at.own + part.rows + part.lane % 16u, j);
        for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
            let tile = (*sums)[j % SUM_HEADS * COLUMNS + c];
            of_weight += write_tile(tile, part, at, j * DI, part.columns / 32u * COLUMNS + c, factor, j);
        }
        let found = sum_row(of_weight, part, lid);
        if lid < TILE && at.own + lid < params.t {
            gradients[token_at(at.b, at.own + lid) * INDEX_ROW + WEIGHTS_AT + j] = found;
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let part = part_of(lid);
    let own = TILE * select(grid.x - 1u - wid.x, wid.x, OWN_KEYS);
    let row = own + part.rows + part.lane % 16u;
    var at = Place(wid.y, own, own);
    var end = params.t;
    if !OWN_KEYS {
        at.other = first_key(at.b, own) / TILE * TILE;
        end = min(own + TILE, params.t);
    }
    let log_of_row = logs[token_at(at.b, row)].x;
    var item = fetch(0u, at, lid);
    var place = 0u;
    advance(&item, 0u, place, at, lid);
    var sums: Sums;
    for (var i = 0u; i < SUM_TILES; i += 1u) { // unrolled
        sums[i] = MatC();
    }
    var loss = 0.0;
    workgroupBarrier();
    while at.other < end {
        if OWN_KEYS && past(at.b, at.other, own + TILE - 1u) {
            break;
        }
        var word = 0u;
        if OWN_KEYS {
            stage_columns(at, lid);
        } else {
            word = visible_word(at.b, row, (at.other + part.columns) / 32u);
        }
        var scores: Quads;
        var p: Quads;
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            scores[j] = vec4(0.0);
            p[j] = vec4(0.0);
        }
        for (var n = 0u; n < HEADS; n += 1u) {
            multiply(QK / 16u, part);
            workgroupBarrier();
            advance(&item, n + 1u, 1u - place, at, lid);
            for (var j = 0u; j < SHARE; j += 1u) { // unrolled
                p[j] += exp2(params.scale * product(part, j) - values_of(part, place, j));
            }
            place = 1u - place;
            workgroupBarrier();
        }
        var signs: Signs;
        for (var j = 0u; j < HI; j += 1u) { // unrolled
            multiply(DI / 16u, part);
            workgroupBarrier();
            // Behind the last head, the gradients of queries need the keys once more.
            if OWN_KEYS || j + 1u < HI {
                advance(&item, HEADS + j + 1u, 1u - place, at, lid);
            }
            signs[j] = add_scores(&scores, part, place);
            place = 1u - place;
            workgroupBarrier();
        }
        loss += differentiate(&scores, p, part, word, own, log_of_row);
        for (var j = 0u; j < HI; j += 1u) { // unrolled
            put_signed(scores, signs[j], part, place);
            workgroupBarrier();
            for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
                let column = part.columns / 32u * COLUMNS + c;
                if column < DI / 16u {
                    sums[j % SUM_HEADS * COLUMNS + c] = add_tile(sums[j % SUM_HEADS * COLUMNS + c], column, part);
                }
            }
            workgroupBarrier();
            if OWN_KEYS {
                advance(&item, HEADS + HI + j + 1u, 1u - place, at, lid);
                place = 1u - place;
                // The next head's weights are read before its rows are.
                workgroupBarrier();
            }
        }
        if !OWN_KEYS {
            advance(&item, ITEMS, place, at, lid);
        }
        at.other += TILE;
        workgroupBarrier();
    }
    if OWN_KEYS {
        for (var c = 0u; c < COLUMNS; c += 1u) { // unrolled
            let tile = sums[c];
            write_tile(tile, part, at, KEY_AT, part.columns / 32u * COLUMNS + c, 1.0, 0u);
        }
    } else {
        write_queries(&sums, part, at, loss, lid);
    }
}
