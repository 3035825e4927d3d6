// What both kernels of the product share: its parameters, the order of its tiles, and the way of x and W into workgroup memory.
// Needs TILE_T, TILE_O, TILE_K, BAND, ROWS_PER_LOAD, LOADS_X, LOADS_W, QUADS_X, QUADS_W (sizes of sh_x and sh_w); the alias S of staged
// values; `slot(row, quad)`, where a staged quad of values lies; and the fragments of the formats of x and W.

struct Params {
    t: u32,
    o: u32,
    i: u32,
    x_stride: u32,
    x_offset: u32,
    x_batch: u32,
    y_stride: u32,
    y_offset: u32,
    y_batch: u32,
}

@group(0) @binding(Y_AT) var<storage, read_write> y: array<Y>; // (Z, T, O) f32 or f16
@group(0) @binding(Y_AT + 1u) var<storage, read> params: Params;

// Eight staged values.
struct Eight {
    lo: vec4<S>,
    hi: vec4<S>,
}

// Eights along a staged row.
const EIGHTS: u32 = TILE_K / 8u;

var<workgroup> sh_x: array<vec4<S>, QUADS_X>;
var<workgroup> sh_w: array<vec4<S>, QUADS_W>;

// What an invocation reads: the starts of its rows, counted in eights, and the eights that are on their way.
struct Rows {
    eight: u32,
    to: u32,
    x: array<u32, LOADS_X>,
    w: array<u32, LOADS_W>,
}

struct Raw {
    x: array<RawX, LOADS_X>,
    w: array<RawW, LOADS_W>,
}

// Returns the first row and column of the workgroup's tile. Tiles go down the rows of a band first, so that workgroups which run together
// share rows of x and of W in the cache.
fn tile_of(place: u32) -> vec2<u32> {
    let tiles_t = (params.t + TILE_T - 1u) / TILE_T;
    let tiles_o = (params.o + TILE_O - 1u) / TILE_O;
    let band = place / (BAND * tiles_o);
    let inside = place - band * BAND * tiles_o;
    let height = min(tiles_t - band * BAND, BAND);
    return vec2<u32>((band * BAND + inside % height) * TILE_T, (inside / height) * TILE_O);
}

// Rows past the end are clamped: their products land in rows and columns of y that nobody writes.
fn rows_of(lid: u32, first: vec2<u32>, batch: u32) -> Rows {
    var rows: Rows;
    rows.eight = lid % EIGHTS;
    rows.to = lid / EIGHTS;
    for (var q = 0u; q < LOADS_X; q += 1u) { // unrolled
        let t = min(first.x + rows.to + q * ROWS_PER_LOAD, params.t - 1u);
        rows.x[q] = batch * params.x_batch + params.x_offset + t * params.x_stride;
    }
    for (var q = 0u; q < LOADS_W; q += 1u) { // unrolled
        rows.w[q] = min(first.y + rows.to + q * ROWS_PER_LOAD, params.o - 1u);
    }
    return rows;
}

// Reads the eights of one step. Past the end of a row x is zero and W is anything finite.
fn fetch(rows: ptr<function, Rows>, step: u32, batch: u32, raw: ptr<function, Raw>) {
    let eights = params.i / 8u;
    let at = step * EIGHTS + (*rows).eight;
    let eight = min(at, eights - 1u);
    for (var q = 0u; q < LOADS_X; q += 1u) { // unrolled
        (*raw).x[q] = fetch_x((*rows).x[q] / 4u + eight * 2u, at < eights);
    }
    for (var q = 0u; q < LOADS_W; q += 1u) { // unrolled
        (*raw).w[q] = fetch_w((*rows).w[q], eight, eights, batch);
    }
}

// Decodes what was read and writes it to the staged rows.
fn put(rows: ptr<function, Rows>, raw: ptr<function, Raw>, buffer: u32) {
    for (var q = 0u; q < LOADS_X; q += 1u) { // unrolled
        let row = buffer * TILE_T + (*rows).to + q * ROWS_PER_LOAD;
        let values = widen_x((*raw).x[q]);
        sh_x[slot(row, (*rows).eight * 2u)] = values.lo;
        sh_x[slot(row, (*rows).eight * 2u + 1u)] = values.hi;
    }
    for (var q = 0u; q < LOADS_W; q += 1u) { // unrolled
        let row = buffer * TILE_O + (*rows).to + q * ROWS_PER_LOAD;
        let values = widen_w((*raw).w[q]);
        sh_w[slot(row, (*rows).eight * 2u)] = values.lo;
        sh_w[slot(row, (*rows).eight * 2u + 1u)] = values.hi;
    }
}
