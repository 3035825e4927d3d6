// y[z, o] = Σ_i x[z, i] · W[z, o, i] for one row of x and q4 weights; with NORM the sum is over x · gain and is scaled by 1 / sqrt(mean(x²) + eps);
// with ACCUMULATE it is added to y.
//
// Grid: workgroups along x share the blocks of GROUPS · ROWS rows of matrix wid.z. A workgroup packs all of x once and then goes from block to block;
//   the vectors of the next round, of this block or of the next one, are on their way while the present ones are multiplied.
// Requires: LANES consecutive invocations, at least four, are in one subgroup; x of at most CAPACITY vectors; its offset and batch in whole
//   vectors of four.
// Numerics: x as 16-bit integers with a scale for each group of 32, see x_packed.wgsl; products and their sum over a group are exact, then f32.
// Prelude: the fragments of the weight format, of the gain, of the subgroup.

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
const LARGEST: f32 = 32512.0;
// One more than there are vectors spreads the writes over the banks.
const PITCH: u32 = CAPACITY + 1u;

// For word j of vector v, at j · PITCH + v: the high bytes of its even and of its odd values, and their low bytes.
var<workgroup> sh_x: array<vec4<u32>, 4u * PITCH>;
// For each vector the bits of the scale of x, and of what is to be added to the sum of products because nibbles are stored plus 8.
var<workgroup> sh_groups: array<vec2<u32>, CAPACITY>;

struct Tile {
    words: array<vec4<u32>, ROWS>,
    scales: array<f32, ROWS>,
}

fn low(code: vec4<i32>) -> u32 {
    return pack4xI8(code);
}

fn high(code: vec4<i32>) -> u32 {
    return pack4xI8((code + vec4<i32>(128)) >> vec4<u32>(8u));
}

// Packs x, eight values for each invocation at a time; four invocations share a group. Returns the squares of what it has read.
fn pack(lid: u32, first: u32, eights: u32) -> f32 {
    var squares = 0.0;
    for (var base = 0u; base < eights; base += WG_SIZE) {
        let j = base + lid;
        let inside = j < eights;
        let quad = 2u * min(j, eights - 1u);
        var a = select(vec4<f32>(), x[first + quad], inside);
        var b = select(vec4<f32>(), x[first + quad + 1u], inside);
        squares += dot(a, a) + dot(b, b);
        a *= gain4(quad);
        b *= gain4(quad + 1u);
        let larger = max(abs(a), abs(b));
        var most = max(max(larger.x, larger.y), max(larger.z, larger.w));
        most = max(most, subgroupShuffleXor(most, 1u));
        most = max(most, subgroupShuffleXor(most, 2u));
        let inverse = select(0.0, LARGEST / most, most > 0.0);
        let c = vec4<i32>(round(a * inverse));
        let d = vec4<i32>(round(b * inverse));
        let pairs = c + d;
        var total = pairs.x + pairs.y + pairs.z + pairs.w;
        total += subgroupShuffleXor(total, 1u);
        total += subgroupShuffleXor(total, 2u);
        if inside {
            let even = vec4<i32>(c.xz, d.xz);
            let odd = vec4<i32>(c.yw, d.yw);
            sh_x[j % 4u * PITCH + j / 4u] = vec4<u32>(high(even), high(odd), low(even), low(odd));
            sh_groups[j / 4u] = vec2<u32>(bitcast<u32>(most / LARGEST), bitcast<u32>(-8 * total));
        }
    }
    return squares;
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

fn dot_words(a: vec4<u32>, b: vec4<u32>, start: i32) -> i32 {
    return dot4I8Packed(a.w, b.w) + (dot4I8Packed(a.z, b.z) + (dot4I8Packed(a.y, b.y) + (dot4I8Packed(a.x, b.x) + start)));
}

// Adds the products of one vector of each row.
fn multiply(tile: Tile, v: u32, sums: ptr<function, array<f32, ROWS>>) {
    var words = tile.words;
    var scales = tile.scales;
    let group = sh_groups[v];
    let a = sh_x[v];
    let b = sh_x[PITCH + v];
    let c = sh_x[2u * PITCH + v];
    let d = sh_x[3u * PITCH + v];
    for (var r = 0u; r < ROWS; r += 1u) { // unrolled
        let even = words[r] & vec4<u32>(0x0F0F0F0Fu);
        let odd = (words[r] >> vec4<u32>(4u)) & vec4<u32>(0x0F0F0F0Fu);
        let highs = dot_words(odd, vec4<u32>(a.y, b.y, c.y, d.y), dot_words(even, vec4<u32>(a.x, b.x, c.x, d.x), 0));
        let start = bitcast<i32>(group.y);
        let lows = dot_words(odd, vec4<u32>(a.w, b.w, c.w, d.w), dot_words(even, vec4<u32>(a.z, b.z, c.z, d.z), start));
        (*sums)[r] = fma(f32(256 * highs + lows), bitcast<f32>(group.x) * scales[r], (*sums)[r]);
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
