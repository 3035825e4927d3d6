// y = x · Wᵀ for assignments of one expert, with cooperative matrices; when PAIRED, y = silu(gate) · up of two such products.
//
// Grid and buffers: stage.wgsl. Each subgroup keeps TILES_T × TILES_O sums of 16 × 16; when PAIRED, the second half of its columns are the up rows of
// the first. Steps of TILE_K along K pass through workgroup memory as f16, while the next step is on its way to registers.
// Requires: cooperative matrices 16×16×16, f16 × f16 → f32; subgroups of WG_SIZE / SUBGROUPS lanes.
// Numerics: x and W rounded to f16, products exact, sums in f32 in the order of the hardware.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;
alias Sums = array<MatC, SUMS>;

// Quads between staged rows: one eight more than a row holds spreads the rows over the banks.
const ROW: u32 = TILE_K / 4u + 2u;

// Two 16 × 16 of each subgroup.
var<workgroup> sh_y: array<f32, SUBGROUPS * 512u>;

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
) {
    let tile = tile_of(lid, wid.y);
    if wid.y >= tile.x {
        return;
    }
    var rows = rows_of(lid, tile, wid.x);
    var raw: Raw;
    fetch(&rows, 0u, &raw);
    let group = lid / lanes;
    let group_t = (group / GROUPS_O) * (TILES_T * 16u);
    let group_o = (group % GROUPS_O) * (TILES_O * 16u);
    var sums: Sums;
    for (var q = 0u; q < SUMS; q += 1u) { // unrolled
        sums[q] = MatC();
    }
    for (var step = 0u; step < STEPS; step += 1u) {
        put(&rows, &raw);
        workgroupBarrier();
        // The last turn fetches what nobody multiplies.
        fetch(&rows, step + 1u, &raw);
        multiply(&sums, group_t, group_o);
        workgroupBarrier();
    }

    // Sums pass through workgroup memory: 16 × 16 of each subgroup at a time, and their up values.
    for (var p = 0u; p < TILES_T; p += 1u) { // unrolled
        for (var q = 0u; q < STORES_O; q += 1u) { // unrolled
            spill(sums[p * TILES_O + q], group * 512u);
            if PAIRED {
                spill(sums[p * TILES_O + (q + STORES_O) % TILES_O], group * 512u + 256u);
            }
            workgroupBarrier();
            for (var e = lane; e < 256u; e += lanes) {
                let place = tile.z + group_t + p * 16u + e / 16u;
                let at = column_of(wid.x, group_o + q * 16u + e % 16u);
                if place < tile.w && at < COLUMNS {
                    var value = sh_y[group * 512u + e];
                    if PAIRED {
                        value = silu_mul(value, sh_y[group * 512u + 256u + e]);
                    }
                    y[row_of(place) * COLUMNS + at] = stored(value);
                }
            }
            workgroupBarrier();
        }
    }
}

// Values beyond the range of f16 become its largest.
fn stored(value: f32) -> Y {
    if PAIRED {
        return Y(clamp(value, -65504.0, 65504.0));
    }
    return Y(value);
}

// Hidden values stay in the order of the experts; contributions return to their assignments.
fn row_of(place: u32) -> u32 {
    if FROM_TOKENS {
        return place;
    }
    return order[place];
}
