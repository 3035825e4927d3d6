// y[z, o] = Σ_i x[z, i] · W[z, o, i] for one row of x and q4 weights; with NORM the sum is over x · gain and is scaled by
// 1 / sqrt(mean(x²) + eps); with ACCUMULATE it is added to y.
//
// Grid: workgroups along x share the blocks of GROUPS · ROWS rows of matrix wid.z. A workgroup packs all of x once and then goes from block to
//   block; the vectors of the next round, of this block or of the next one, are on their way while the present ones are multiplied.
// Requires: LANES consecutive invocations, at least four, are in one subgroup; x of at most CAPACITY vectors; its offset and batch in whole
//   vectors of four.
// Numerics: x as 16-bit integers with a scale for each group of 32, see packed_q4.wgsl; products and their sum over a group are exact, then f32.
// Prelude: the fragments of the weight format, of packed x, of the gain, of the subgroup.

struct Params {
    o: u32,
    i: u32,
    t: u32,
    z: u32,
    x_stride: u32,
    x_offset: u32,
    x_batch: u32,
    y_stride: u32,
    y_offset: u32,
    y_batch: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (Z, I) f32, strided
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // (Z, O, I) q4
@group(0) @binding(Y) var<storage, read_write> y: array<f32>; // (Z, O) f32, strided
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const GROUPS: u32 = WG_SIZE / LANES;
struct Tile {
    words: array<vec4<u32>, ROWS>,
    scales: array<f32, ROWS>,
}

// One vector of each of ROWS rows, and their scales. Rows past the last repeat it; their results are dropped.
fn load(matrix: u32, first: u32, v: u32, vectors: u32) -> Tile {
    var tile: Tile;
    for (var r = 0u; r < ROWS; r += 1u) { // unrolled
        let row = min(first + r, params.o - 1u);
        tile.words[r] = weight[(matrix * params.o + row) * vectors + v];
        tile.scales[r] = weight_scale(matrix, row, v * WEIGHT_VALUES, params.o, params.i);
    }
    return tile;
}

fn gained(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return value * gain4(quad);
}

// Adds the products of one vector of each row.
fn multiply(tile: Tile, v: u32, sums: ptr<function, array<f32, ROWS>>) {
    var words = tile.words;
    var scales = tile.scales;
    let part = part_of(v);
    for (var r = 0u; r < ROWS; r += 1u) { // unrolled
        (*sums)[r] = fma(product(words[r], part), part.scale * scales[r], (*sums)[r]);
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let lane = at.lid % LANES;
    let vectors = params.i / WEIGHT_VALUES;
    let own = at.lid / LANES * ROWS;
    let start = min(lane, vectors - 1u);
    // The first weights are on their way while x is packed.
    var next = load(wid.z, wid.x * GROUPS * ROWS + own, start, vectors);
    let squares = pack(at.lid, (wid.z * params.x_batch + params.x_offset) / 4u, vectors * 4u);
    var scale = 1.0;
    if NORM {
        scale = inverseSqrt(workgroup_sum(squares, at.lid, lane_of(at), lanes_of(at)) / f32(params.i) + params.eps);
    }
    workgroupBarrier();

    for (var block = wid.x * GROUPS * ROWS; block < params.o; block += grid.x * GROUPS * ROWS) {
        let first = block + own;
        var sums: array<f32, ROWS>;
        for (var v = lane; v < vectors; v += LANES) {
            let tile = next;
            let stays = v + LANES < vectors;
            next = load(wid.z, select(first + grid.x * GROUPS * ROWS, first, stays), select(start, v + LANES, stays), vectors);
            multiply(tile, v, &sums);
        }
        for (var r = 0u; r < ROWS; r += 1u) { // unrolled
            let sum = lanes_sum(sums[r]) * scale;
            if lane == r % LANES && first + r < params.o {
                let to = wid.z * params.y_batch + params.y_offset + first + r;
                if ACCUMULATE {
                    y[to] += sum;
                } else {
                    y[to] = sum;
                }
            }
        }
    }
}
