// y[z, t, o] = Σ_i x[z, t, i] · W[z, o, i] for up to TOKENS rows t; with NORM the sum is over x · gain and is scaled by 1 / sqrt(mean(x²) + eps);
// with ACCUMULATE it is added to y.
//
// Grid: a workgroup takes GROUPS · ROWS rows of W of matrix wid.z. SLICES = LANES · SPLIT invocations share ROWS rows and take every
//   SLICES-th vector of each. All invocations stage the same CHUNK vectors of x in workgroup memory, then the rows are read once, the next
//   vectors being on their way while the present ones are multiplied.
// Requires: LANES consecutive invocations are in one subgroup, or LANES = 1; x, its stride, offset and batch in whole vectors of four.
// Numerics: f32, in a fixed order: along a slice, then over lanes, then over the SPLIT parts.
// Prelude: the fragments of the weight format, of x and of the gain; of the subgroup.

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

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (Z, T, I) f32, strided
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // (Z, O, I) in the weight format
@group(0) @binding(Y) var<storage, read_write> y: array<f32>; // (Z, T, O) f32, strided
@group(0) @binding(PARAMS) var<storage, read> params: Params;

const SLICES: u32 = LANES * SPLIT;
const GROUPS: u32 = WG_SIZE / SLICES;
const OUTPUTS: u32 = ROWS * TOKENS;

var<workgroup> sh_sums: array<f32, SUMS>;

// One vector of each of ROWS rows, and their scales.
struct Tile {
    words: array<vec4<u32>, ROWS>,
    scales: array<f32, ROWS>,
}

// Rows past the last repeat it; their results are dropped.
fn load(matrix: u32, first: u32, v: u32, vectors: u32) -> Tile {
    var tile: Tile;
    for (var r = 0u; r < ROWS; r += 1u) {
        let row = min(first + r, params.o - 1u);
        tile.words[r] = weight[(matrix * params.o + row) * vectors + v];
        tile.scales[r] = weight_scale(matrix, row, v * WEIGHT_VALUES, params.o, params.i);
    }
    return tile;
}

fn store(matrix: u32, row: u32, t: u32, value: f32) {
    if row < params.o && t < params.t {
        let i = matrix * params.y_batch + t * params.y_stride + params.y_offset + row;
        if ACCUMULATE {
            y[i] += value;
        } else {
            y[i] = value;
        }
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let block = (wid.y * grid.x + wid.x) * GROUPS * ROWS;
    if block >= params.o {
        return;
    }
    let lid = at.lid;
    let slice = lid % SLICES;
    let first = block + lid / SLICES * ROWS;
    let vectors = params.i / WEIGHT_VALUES;

    var next: Tile;
    if slice < vectors {
        next = load(wid.z, first, slice, vectors);
    }
    var sums: array<f32, OUTPUTS>;
    var squares: array<f32, TOKENS>;
    for (var start = 0u; start < vectors; start += CHUNK) {
        let end = min(start + CHUNK, vectors);
        stage(wid.z, start, end, lid, &squares);
        workgroupBarrier();
        var step = 0u;
        for (var v = start + slice; v < end; v += SLICES) {
            let tile = next;
            if v + SLICES < vectors {
                next = load(wid.z, first, v + SLICES, vectors);
            }
            multiply(tile, step, slice, &sums);
            step += 1u;
        }
        workgroupBarrier();
    }

    var scales: array<f32, TOKENS>;
    for (var t = 0u; t < TOKENS; t += 1u) {
        scales[t] = 1.0;
        if NORM {
            let sum = workgroup_sum(squares[t], lid, lane_of(at), lanes_of(at));
            scales[t] = inverseSqrt(sum / f32(params.i) + params.eps);
        }
    }
    for (var i = 0u; i < OUTPUTS; i += 1u) {
        let sum = lanes_sum(sums[i]) * scales[i % TOKENS];
        if lid % LANES == 0u {
            if SPLIT == 1u {
                store(wid.z, first + i / TOKENS, i % TOKENS, sum);
            } else {
                sh_sums[(lid / LANES) * OUTPUTS + i] = sum;
            }
        }
    }
    if SPLIT > 1u {
        workgroupBarrier();
        for (var i = lid; i < GROUPS * OUTPUTS; i += WG_SIZE) {
            let group = i / OUTPUTS;
            var sum = 0.0;
            for (var part = 0u; part < SPLIT; part += 1u) {
                sum += sh_sums[(group * SPLIT + part) * OUTPUTS + i % OUTPUTS];
            }
            store(wid.z, block + group * ROWS + i % OUTPUTS / TOKENS, i % TOKENS, sum);
        }
    }
}
