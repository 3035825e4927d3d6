// y = x · Wᵀ for assignments of one expert, in f32; when PAIRED, y = silu(gate) · up of two such products.
//
// Grid and buffers: stage.wgsl. An invocation keeps SUMS_T × SUMS_O sums, of columns 16 apart and rows LINES apart. Steps of TILE_K along K pass
// through workgroup memory, while the next step is on its way to registers.
// Requires: nothing beyond the base tier.
// Numerics: f32 throughout, sums in the order of K.

const QUADS: u32 = TILE_K / 4u;
// Rows of the tile that invocations cover at once; along the columns it is 16.
const LINES: u32 = WG_SIZE / 16u;

// Quads of neighbouring rows change places, so that a column of quads lies in different banks.
fn slot(row: u32, quad: u32) -> u32 {
    return row * QUADS + (quad ^ (row % QUADS));
}

alias Sums = array<f32, SUMS>;

// Adds the products of one staged step.
fn multiply(sums: ptr<function, Sums>, line: u32, column: u32) {
    var a: array<vec4<f32>, SUMS_T>;
    for (var k = 0u; k < QUADS; k += 1u) {
        for (var p = 0u; p < SUMS_T; p += 1u) { // unrolled
            a[p] = sh_x[slot(line + p * LINES, k)];
        }
        for (var q = 0u; q < SUMS_O; q += 1u) { // unrolled
            let b = sh_w[slot(column + q * 16u, k)];
            for (var p = 0u; p < SUMS_T; p += 1u) { // unrolled
                var sum = (*sums)[p * SUMS_O + q];
                sum += a[p].x * b.x;
                sum += a[p].y * b.y;
                sum += a[p].z * b.z;
                sum += a[p].w * b.w;
                (*sums)[p * SUMS_O + q] = sum;
            }
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let tile = tile_of(lid, wid.y);
    if wid.y >= tile.x {
        return;
    }
    var rows = rows_of(lid, tile, wid.x);
    var raw: Raw;
    fetch(&rows, 0u, &raw);
    let line = lid / 16u;
    let column = lid % 16u;
    var sums: Sums;
    for (var step = 0u; step < STEPS; step += 1u) {
        put(&rows, &raw);
        workgroupBarrier();
        // The last turn fetches what nobody multiplies.
        fetch(&rows, step + 1u, &raw);
        multiply(&sums, line, column);
        workgroupBarrier();
    }

    for (var p = 0u; p < SUMS_T; p += 1u) { // unrolled
        let place = tile.z + line + p * LINES;
        if place < tile.w {
            let to = row_of(place) * COLUMNS;
            for (var q = 0u; q < STORES_O; q += 1u) { // unrolled
                let at = column_of(wid.x, column + q * 16u);
                if at < COLUMNS {
                    var value = sums[p * SUMS_O + q];
                    if PAIRED {
                        value = silu_mul(value, sums[p * SUMS_O + (q + STORES_O) % SUMS_O]);
                    }
                    y[to + at] = Y(value);
                }
            }
        }
    }
}

// Hidden values stay in the order of the experts; contributions return to their assignments.
fn row_of(place: u32) -> u32 {
    if FROM_TOKENS {
        return place;
    }
    return order[place];
}
