// y = x · Wᵀ in f32, one tile of TILE_T rows and TILE_O columns for each workgroup.
//
// Grid: workgroups over the tiles, see `tile_of`; z is the batch. An invocation keeps SUMS_T × SUMS_O sums, of rows and columns 16 apart. Steps
// of TILE_K along I pass through workgroup memory, while the next step is on its way to registers.
// Requires: nothing beyond the base tier.
// Numerics: f32 throughout, sums in the order of I.

const QUADS: u32 = TILE_K / 4u;
// Rows of the tile that invocations cover at once; along the columns it is 16.
const LINES: u32 = WG_SIZE / 16u;

// Quads of neighbouring rows change places, so that a column of quads lies in different banks.
fn slot(row: u32, quad: u32) -> u32 {
    return row * QUADS + (quad ^ ((row / (8u / QUADS)) % QUADS));
}

alias Sums = array<f32, SUMS_T * SUMS_O>;

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
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let place = wid.y * grid.x + wid.x;
    if place >= ((params.t + TILE_T - 1u) / TILE_T) * ((params.o + TILE_O - 1u) / TILE_O) {
        return;
    }
    let first = tile_of(place);
    var rows = rows_of(lid, first, wid.z);
    var raw: Raw;
    fetch(&rows, 0u, wid.z, &raw);

    let line = lid / 16u;
    let column = lid % 16u;
    var sums: Sums;
    let steps = (params.i + TILE_K - 1u) / TILE_K;
    for (var step = 0u; step < steps; step += 1u) {
        put(&rows, &raw, 0u);
        workgroupBarrier();
        // The last turn fetches what nobody multiplies.
        fetch(&rows, step + 1u, wid.z, &raw);
        multiply(&sums, line, column);
        workgroupBarrier();
    }

    let y0 = wid.z * params.y_batch + params.y_offset;
    for (var p = 0u; p < SUMS_T; p += 1u) { // unrolled
        for (var q = 0u; q < SUMS_O; q += 1u) { // unrolled
            let t = first.x + line + p * LINES;
            let o = first.y + column + q * 16u;
            if t < params.t && o < params.o {
                let to = y0 + t * params.y_stride + o;
                let sum = sums[p * SUMS_O + q];
                if ACCUMULATE {
                    y[to] = Y(f32(y[to]) + sum);
                } else {
                    y[to] = Y(sum);
                }
            }
        }
    }
}
