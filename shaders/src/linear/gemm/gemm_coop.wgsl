// y = x · Wᵀ with cooperative matrices, one tile of TILE_T rows and TILE_O columns for each workgroup.
//
// Grid: workgroups over the tiles, see `tile_of`; z is the batch. Each subgroup keeps TILES_T × TILES_O sums of 16 × 16. Steps of TILE_K along
// I pass through workgroup memory as f16, while the next step is on its way to registers.
// Requires: cooperative matrices 16×16×16, f16 × f16 → f32; subgroups of at most WG_SIZE / SUBGROUPS lanes.
// Numerics: x and W rounded to f16, products exact, sums in f32 in the order of the hardware.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;
alias Sums = array<MatC, TILES>;

// Quads between staged rows: one eight more than a row holds spreads the rows over the banks.
const ROW: u32 = TILE_K / 4u + 2u;

var<workgroup> sh_y: array<f32, SUBGROUPS * 256u>;

fn slot(row: u32, quad: u32) -> u32 {
    return row * ROW + quad;
}

// Adds the products of one staged step.
fn multiply(sums: ptr<function, Sums>, row_x: u32, row_w: u32) {
    var a: array<MatA, TILES_T>;
    for (var k = 0u; k < STEPS_K; k += 1u) { // unrolled
        for (var p = 0u; p < TILES_T; p += 1u) { // unrolled
            a[p] = coopLoadT<MatA>(&sh_x[slot(row_x + p * 16u, k * 4u)], ROW);
        }
        for (var q = 0u; q < TILES_O; q += 1u) { // unrolled
            let b = coopLoad<MatB>(&sh_w[slot(row_w + q * 16u, k * 4u)], ROW);
            for (var p = 0u; p < TILES_T; p += 1u) { // unrolled
                (*sums)[p * TILES_O + q] = coopMultiplyAdd(a[p], b, (*sums)[p * TILES_O + q]);
            }
        }
    }
}

// Writes sums to workgroup memory.
fn spill(sum: MatC, to: u32) {
    coopStoreT(sum, &sh_y[to], 16u);
}

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
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
    put(&rows, &raw, 0u);

    let group = lid / lanes;
    // Where subgroups are smaller than the workgroup was made for, those past the last one help to stage alone.
    let works = EXACT || group < SUBGROUPS;
    let group_t = (group / GROUPS_O) * (TILES_T * 16u);
    let group_o = (group % GROUPS_O) * (TILES_O * 16u);
    var sums: Sums;
    for (var q = 0u; q < TILES; q += 1u) { // unrolled
        sums[q] = MatC();
    }
    workgroupBarrier();
    let steps = (params.i + TILE_K - 1u) / TILE_K;
    for (var step = 0u; step < steps; step += 1u) {
        // The last turn fetches what nobody multiplies.
        fetch(&rows, step + 1u, wid.z, &raw);
        let buffer = select(0u, step & 1u, BUFFERS == 2u);
        if works {
            multiply(&sums, buffer * TILE_T + group_t, buffer * TILE_O + group_o);
        }
        if BUFFERS == 1u {
            workgroupBarrier();
        }
        put(&rows, &raw, select(0u, buffer ^ 1u, BUFFERS == 2u));
        workgroupBarrier();
    }

    let y0 = wid.z * params.y_batch + params.y_offset;
    if DIRECT && first.x + TILE_T <= params.t && first.y + TILE_O <= params.o {
        if works {
            store_all(&sums, y0 + (first.x + group_t) * params.y_stride + first.y + group_o);
        }
        return;
    }
    // Ragged tiles, and f16, pass through workgroup memory: 16 × 16 of each subgroup at a time.
    for (var p = 0u; p < TILES_T; p += 1u) { // unrolled
        for (var q = 0u; q < TILES_O; q += 1u) { // unrolled
            if works {
                spill(sums[p * TILES_O + q], group * 256u);
            }
            workgroupBarrier();
            for (var e = select(256u, lane, works); e < 256u; e += lanes) {
                let t = first.x + group_t + p * 16u + e / 16u;
                let o = first.y + group_o + q * 16u + e % 16u;
                if t < params.t && o < params.o {
                    let to = y0 + t * params.y_stride + o;
                    let sum = sh_y[group * 256u + e];
                    if ACCUMULATE {
                        y[to] = Y(f32(y[to]) + sum);
                    } else {
                        y[to] = Y(sum);
                    }
                }
            }
            workgroupBarrier();
        }
    }
}
