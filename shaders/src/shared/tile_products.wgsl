// Products of tiles of 32 rows in f32, by 64 invocations: 8 × 8, each with every eighth row and column of a tile.
//
// Needs `fetch(source, row, quad, place)`, four values of a row of a source, which must be finite for rows past the end.

const TILE: u32 = 32u;
const WG_SIZE: u32 = 64u;
// Between rows of the tile in workgroup memory: one more than a row holds spreads a column over the banks.
const TILE_ROW: u32 = 33u;

alias Scores = array<f32, 16>;
alias Columns = array<vec2<f32>, 4>;

// 16 columns of 32 rows of one source, and of another.
var<workgroup> sh_rows: array<vec4<f32>, 256>;
var<workgroup> sh_tile: array<f32, 1056>;

// Quads of neighbouring rows change places, so that a column of quads lies in different banks.
fn staged(row: u32, quad: u32) -> u32 {
    return row * 4u + (quad ^ ((row / 2u) % 4u));
}

fn stage(to: u32, source: u32, first: u32, chunk: u32, place: vec2<u32>, lid: u32) {
    for (var i = lid; i < 128u; i += WG_SIZE) {
        sh_rows[to + staged(i / 4u, i % 4u)] = fetch(source, first + i / 4u, 4u * chunk + i % 4u, place);
    }
}

// x · yᵀ of 32 rows each; value 4p + q stands in row lid / 8 + 8p and column lid % 8 + 8q.
fn products(x: u32, x_first: u32, y: u32, y_first: u32, chunks: u32, place: vec2<u32>, lid: u32) -> Scores {
    var sums: Scores;
    for (var chunk = 0u; chunk < chunks; chunk += 1u) {
        stage(0u, x, x_first, chunk, place, lid);
        stage(128u, y, y_first, chunk, place, lid);
        workgroupBarrier();
        for (var quad = 0u; quad < 4u; quad += 1u) {
            for (var p = 0u; p < 4u; p += 1u) {
                let a = sh_rows[staged(lid / 8u + 8u * p, quad)];
                for (var q = 0u; q < 4u; q += 1u) {
                    sums[4u * p + q] += dot(a, sh_rows[128u + staged(lid % 8u + 8u * q, quad)]);
                }
            }
        }
        workgroupBarrier();
    }
    return sums;
}

// Leaves a tile of values, as `products` gives them, where `rows_times` finds it.
fn put_all(values: Scores, lid: u32) {
    for (var i = 0u; i < 16u; i += 1u) {
        sh_tile[(lid / 8u + i / 4u * 8u) * TILE_ROW + lid % 8u + i % 4u * 8u] = values[i];
    }
    workgroupBarrier();
}

// Tile · y for 16 columns of 32 rows of y; value p stands in row lid / 8 + 8p and columns 2 · (lid % 8) and the next.
fn rows_times(y: u32, y_first: u32, chunk: u32, place: vec2<u32>, lid: u32) -> Columns {
    stage(0u, y, y_first, chunk, place, lid);
    workgroupBarrier();
    var sums: Columns;
    for (var i = 0u; i < TILE; i += 1u) {
        let quad = sh_rows[staged(i, lid % 8u / 2u)];
        let values = select(quad.xy, quad.zw, lid % 2u == 1u);
        for (var p = 0u; p < 4u; p += 1u) {
            sums[p] += sh_tile[(lid / 8u + 8u * p) * TILE_ROW + i] * values;
        }
    }
    workgroupBarrier();
    return sums;
}
