// What both kernels of the grouped product share: its buffers, its tiles, and the way of x and W into workgroup memory.
//
// Grid: workgroup wid.x takes the columns of one tile, workgroup wid.y one tile of assignments; those past the number of tiles return.
// Needs TILE_T, TILE_O, TILE_K, WG_SIZE, ROWS_PER_LOAD, LOADS_X, LOADS_W, QUADS_X, QUADS_W (sizes of sh_x and sh_w); O, K rows and columns of a W;
// SPAN and PAIRED, see `column_of`; FROM_TOKENS and SLOTS, see `rows_of`; the aliases X, Y, S of x, y and staged values; `slot(row, quad)`, where a
// staged quad lies; and the fragments of the weights.

struct Params {
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<X>>; // (T or N, x_stride / 4) f32 or f16, four in a vector
@group(0) @binding(1) var<storage, read> order: array<u32>; // (N) u32, assignments by expert
@group(0) @binding(2) var<storage, read> offsets: array<u32>; // (E + 1) u32
@group(0) @binding(3) var<storage, read> tiles: array<vec2<u32>>; // (1 + tiles) u32 pairs
@group(0) @binding(4) var<storage, read> weights: array<Coded>; // (E, O, K) packed
@group(0) @binding(Y_AT) var<storage, read_write> y: array<Y>; // (N, O, or O / 2 when PAIRED) f32 or f16
@group(0) @binding(Y_AT + 1u) var<storage, read> params: Params;

// Eight staged values.
struct Eight {
    lo: vec4<S>,
    hi: vec4<S>,
}

// Eights along a staged row, and along a row of W.
const EIGHTS: u32 = TILE_K / 8u;
const ROW_EIGHTS: u32 = K / 8u;
const STEPS: u32 = (K + TILE_K - 1u) / TILE_K;
// Columns of y.
const COLUMNS: u32 = select(O, O / 2u, PAIRED);

var<workgroup> sh_x: array<vec4<S>, QUADS_X>;
var<workgroup> sh_w: array<vec4<S>, QUADS_W>;
// Number of tiles, and of this one: expert, first place in the order, the place where it ends.
var<workgroup> sh_tile: vec4<u32>;

struct Rows {
    expert: u32,
    eight: u32,
    to: u32,
    x: array<u32, LOADS_X>,
    w: array<u32, LOADS_W>,
}

struct Raw {
    x: array<RawX, LOADS_X>,
    w: array<RawW, LOADS_W>,
}

struct RawX {
    lo: vec4<X>,
    hi: vec4<X>,
}

struct RawW {
    codes: Coded,
    scale: f32,
}

// The tile of this workgroup, the same for all its invocations.
fn tile_of(lid: u32, place: u32) -> vec4<u32> {
    if lid == 0u {
        let n_tiles = tiles[0].x;
        var tile = vec4<u32>(n_tiles, 0u, 0u, 0u);
        if place < n_tiles {
            let found = tiles[1u + place];
            tile = vec4<u32>(n_tiles, found.x, found.y, min(found.y + TILE_T, offsets[found.x + 1u]));
        }
        sh_tile = tile;
    }
    return workgroupUniformLoad(&sh_tile);
}

// The column of y for row `local` of a tile of W. When PAIRED, each SPAN of local rows is half gate rows and half the up rows of the same columns.
fn column_of(tile: u32, local: u32) -> u32 {
    if !PAIRED {
        return tile * TILE_O + local;
    }
    return tile * (TILE_O / 2u) + local / SPAN * (SPAN / 2u) + local % (SPAN / 2u);
}

// Rows past the end are clamped: their products land in rows and columns of y that nobody writes.
fn rows_of(lid: u32, tile: vec4<u32>, column_tile: u32) -> Rows {
    var rows: Rows;
    rows.expert = tile.y;
    rows.eight = lid % EIGHTS;
    rows.to = lid / EIGHTS;
    for (var q = 0u; q < LOADS_X; q += 1u) { // unrolled
        var row = min(tile.z + rows.to + q * ROWS_PER_LOAD, tile.w - 1u);
        if FROM_TOKENS {
            row = order[row] / SLOTS;
        }
        rows.x[q] = (params.x_offset + row * params.x_stride) / 4u;
    }
    for (var q = 0u; q < LOADS_W; q += 1u) { // unrolled
        let local = rows.to + q * ROWS_PER_LOAD;
        let row = min(column_of(column_tile, local), COLUMNS - 1u);
        rows.w[q] = select(row, row + COLUMNS, PAIRED && local % SPAN >= SPAN / 2u);
    }
    return rows;
}

// Reads the eights of one step. Past the end of a row x is zero and W is anything finite.
fn fetch(rows: ptr<function, Rows>, step: u32, raw: ptr<function, Raw>) {
    let at = step * EIGHTS + (*rows).eight;
    let inside = at < ROW_EIGHTS;
    let eight = min(at, ROW_EIGHTS - 1u);
    for (var q = 0u; q < LOADS_X; q += 1u) { // unrolled
        let from_x = (*rows).x[q] + eight * 2u;
        (*raw).x[q].lo = select(vec4<X>(), x[from_x], inside);
        (*raw).x[q].hi = select(vec4<X>(), x[from_x + 1u], inside);
    }
    for (var q = 0u; q < LOADS_W; q += 1u) { // unrolled
        (*raw).w[q].codes = weights[((*rows).expert * O + (*rows).w[q]) * ROW_EIGHTS + eight];
        (*raw).w[q].scale = weight_scale((*rows).expert, (*rows).w[q], eight * 8u, O, K);
    }
}

// Decodes what was read and writes it to the staged rows.
fn put(rows: ptr<function, Rows>, raw: ptr<function, Raw>) {
    for (var q = 0u; q < LOADS_X; q += 1u) { // unrolled
        let row = (*rows).to + q * ROWS_PER_LOAD;
        sh_x[slot(row, (*rows).eight * 2u)] = vec4<S>((*raw).x[q].lo);
        sh_x[slot(row, (*rows).eight * 2u + 1u)] = vec4<S>((*raw).x[q].hi);
    }
    for (var q = 0u; q < LOADS_W; q += 1u) { // unrolled
        let row = (*rows).to + q * ROWS_PER_LOAD;
        let values = eight_of((*raw).w[q].codes, (*raw).w[q].scale);
        sh_w[slot(row, (*rows).eight * 2u)] = values.lo;
        sh_w[slot(row, (*rows).eight * 2u + 1u)] = values.hi;
    }
}

fn silu_mul(gate: f32, up: f32) -> f32 {
    return gate / (1.0 + exp(-gate)) * up;
}
