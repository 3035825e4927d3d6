// dW = dyᵀ · x with cooperative matrices over a part of the tokens, one tile of TILE_O × TILE_I for each workgroup.
//
// Grid: x and y over the tiles, z over the parts. Each subgroup keeps TILES_O × TILES_I sums of 16 × 16. Steps of TILE_K tokens pass through
// workgroup memory as f16 as they lie, while the next step is on its way to registers.
// Requires: cooperative matrices 16×16×16, f16 × f16 → f32; subgroups of WG_SIZE / SUBGROUPS lanes; O and I multiples of 8.
// Numerics: dy and x rounded to f16, products exact, sums in f32 in the order of the hardware.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;
alias Sums = array<MatC, TILES>;

// Quads between staged tokens: two more than a row holds spread the tokens over the banks.
const ROW_O: u32 = TILE_O / 4u + 2u;
const ROW_I: u32 = TILE_I / 4u + 2u;
// Eights along a staged token.
const EIGHTS_O: u32 = TILE_O / 8u;
const EIGHTS_I: u32 = TILE_I / 8u;

var<workgroup> sh_dy: array<vec4<f16>, TILE_K * ROW_O>;
var<workgroup> sh_x: array<vec4<f16>, TILE_K * ROW_I>;
var<workgroup> sh_sum: array<f32, SUBGROUPS * 256u>;

struct Raw {
    dy: array<vec4<DY>, QUADS_O>,
    x: array<vec4<X>, QUADS_I>,
}

// Reads the eights of the tokens from `token` on.
fn fetch(lid: u32, first: vec2<u32>, token: u32, end: u32, raw: ptr<function, Raw>) {
    for (var q = 0u; q < LOADS_O; q += 1u) { // unrolled
        let row = token + lid / EIGHTS_O + q * (WG_SIZE / EIGHTS_O);
        let eight = min(first.x / 8u + lid % EIGHTS_O, params.o / 8u - 1u);
        let at = min(row, params.t - 1u) * (params.o / 4u) + eight * 2u;
        (*raw).dy[2u * q] = select(vec4<DY>(), dy[at], row < end);
        (*raw).dy[2u * q + 1u] = select(vec4<DY>(), dy[at + 1u], row < end);
    }
    for (var q = 0u; q < LOADS_I; q += 1u) { // unrolled
        let row = token + lid / EIGHTS_I + q * (WG_SIZE / EIGHTS_I);
        let eight = min(first.y / 8u + lid % EIGHTS_I, params.i / 8u - 1u);
        let at = min(row, params.t - 1u) * (params.i / 4u) + eight * 2u;
        (*raw).x[2u * q] = x[at];
        (*raw).x[2u * q + 1u] = x[at + 1u];
    }
}

// Rounds what was read and writes it to the staged tokens.
fn put(lid: u32, raw: ptr<function, Raw>) {
    for (var q = 0u; q < LOADS_O; q += 1u) { // unrolled
        let to = (lid / EIGHTS_O + q * (WG_SIZE / EIGHTS_O)) * ROW_O + (lid % EIGHTS_O) * 2u;
        sh_dy[to] = vec4<f16>((*raw).dy[2u * q]);
        sh_dy[to + 1u] = vec4<f16>((*raw).dy[2u * q + 1u]);
    }
    for (var q = 0u; q < LOADS_I; q += 1u) { // unrolled
        let to = (lid / EIGHTS_I + q * (WG_SIZE / EIGHTS_I)) * ROW_I + (lid % EIGHTS_I) * 2u;
        sh_x[to] = vec4<f16>((*raw).x[2u * q]);
        sh_x[to + 1u] = vec4<f16>((*raw).x[2u * q + 1u]);
    }
}

// Adds the products of the staged tokens.
fn multiply(sums: ptr<function, Sums>, group_o: u32, group_i: u32) {
    var a: array<MatA, TILES_O>;
    for (var k = 0u; k < STEPS_K; k += 1u) { // unrolled
        for (var p = 0u; p < TILES_O; p += 1u) { // unrolled
            let from_dy = k * 16u * ROW_O + (group_o + p * 16u) / 4u;
            a[p] = coopLoad<MatA>(&sh_dy[from_dy], ROW_O);
        }
        for (var q = 0u; q < TILES_I; q += 1u) { // unrolled
            let from_x = k * 16u * ROW_I + (group_i + q * 16u) / 4u;
            let b = coopLoadT<MatB>(&sh_x[from_x], ROW_I);
            for (var p = 0u; p < TILES_O; p += 1u) { // unrolled
                (*sums)[p * TILES_I + q] = coopMultiplyAdd(a[p], b, (*sums)[p * TILES_I + q]);
            }
        }
    }
}

// Stores a whole tile.
fn store_all(sums: ptr<function, Sums>, first: u32) {
    let stride = params.i;
    for (var p = 0u; p < TILES_O; p += 1u) { // unrolled
        for (var q = 0u; q < TILES_I; q += 1u) { // unrolled
            let to = first + p * 16u * stride + q * 16u;
            let sum = (*sums)[p * TILES_I + q];
            coopStoreT(sum, &parts[to], stride);
        }
    }
}

// Writes sums to workgroup memory.
fn spill(sum: MatC, to: u32) {
    coopStoreT(sum, &sh_sum[to], 16u);
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
    if place >= tiles() {
        return;
    }
    let first = tile_of(place);
    let start = wid.z * params.rows;
    let end = min(start + params.rows, params.t);
    let group = lid / lanes;
    let group_o = (group / GROUPS_I) * (TILES_O * 16u);
    let group_i = (group % GROUPS_I) * (TILES_I * 16u);
    var raw: Raw;
    fetch(lid, first, start, end, &raw);
    var sums: Sums;
    for (var q = 0u; q < TILES; q += 1u) { // unrolled
        sums[q] = MatC();
    }
    for (var token = start; token < end; token += TILE_K) {
        put(lid, &raw);
        workgroupBarrier();
        // The last turn fetches what nobody multiplies.
        fetch(lid, first, token + TILE_K, end, &raw);
        multiply(&sums, group_o, group_i);
        workgroupBarrier();
    }

    let part = wid.z * params.o * params.i;
    if first.x + TILE_O <= params.o && first.y + TILE_I <= params.i {
        store_all(&sums, part + (first.x + group_o) * params.i + first.y + group_i);
        return;
    }
    // Ragged tiles pass through workgroup memory: 16 × 16 of each subgroup at a time.
    for (var p = 0u; p < TILES_O; p += 1u) { // unrolled
        for (var q = 0u; q < TILES_I; q += 1u) { // unrolled
            spill(sums[p * TILES_I + q], group * 256u);
            workgroupBarrier();
            for (var e = lane; e < 256u; e += lanes) {
                let o = first.x + group_o + p * 16u + e / 16u;
                let i = first.y + group_i + q * 16u + e % 16u;
                if o < params.o && i < params.i {
                    parts[part + o * params.i + i] = sh_sum[group * 256u + e];
                }
            }
            workgroupBarrier();
        }
    }
}
