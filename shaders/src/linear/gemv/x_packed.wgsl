// x of the GEMV as 16-bit integers with a scale for each group of 32, for q8 and q4 weights: products of bytes, four in one instruction.
// A code is 256 · high + low with both in a signed byte; its error is at most the group's largest value over 65024.

// Vectors of packed bytes of x for one vector of weights, and vectors of weights for one group.
const PARTS: u32 = WEIGHT_VALUES / 8u;
const HALVES: u32 = 32u / WEIGHT_VALUES;
const NIBBLES: bool = HALVES == 1u;
const LARGEST: f32 = 32512.0;

var<workgroup> sh_x: array<vec4<u32>, STEPS * TOKENS * PARTS * (SLICES + 1u)>;
// For each vector the scale of x, and what is to be subtracted from the sum of products because nibbles are stored plus 8.
var<workgroup> sh_groups: array<vec2<f32>, STEPS * TOKENS * SLICES>;

fn low(code: vec4<i32>) -> u32 {
    return pack4xI8(code);
}

fn high(code: vec4<i32>) -> u32 {
    return pack4xI8((code + vec4<i32>(128)) >> vec4<u32>(8u));
}

fn put(v: u32, t: u32, part: u32, words: vec4<u32>) {
    sh_x[((v / SLICES * TOKENS + t) * PARTS + part) * (SLICES + 1u) + v % SLICES] = words;
}

// Stages vectors [start, end) of x · gain and adds the squares of x to `squares`.
fn stage(matrix: u32, start: u32, end: u32, lid: u32, squares: ptr<function, array<f32, TOKENS>>) {
    for (var t = 0u; t < TOKENS; t += 1u) {
        // Rows past the last repeat it; their results are dropped.
        let row = (matrix * params.x_batch + min(t, params.t - 1u) * params.x_stride + params.x_offset) / 4u;
        for (var group = lid; group < (end - start) / HALVES; group += WG_SIZE) {
            let column = (start / HALVES + group) * 8u;
            var values: array<vec4<f32>, 8>;
            var largest = vec4<f32>(0.0);
            for (var j = 0u; j < 8u; j += 1u) {
                values[j] = x[row + column + j];
            }
            for (var j = 0u; j < 8u; j += 1u) {
                (*squares)[t] += dot(values[j], values[j]);
                values[j] *= gain4(column + j);
                largest = max(largest, abs(values[j]));
            }
            let most = max(max(largest.x, largest.y), max(largest.z, largest.w));
            let inverse = select(0.0, LARGEST / most, most > 0.0);
            var codes: array<vec4<i32>, 8>;
            var total = vec4<i32>(0);
            for (var j = 0u; j < 8u; j += 1u) {
                codes[j] = vec4<i32>(round(values[j] * inverse));
                total += codes[j];
            }
            var entry = vec2<f32>(most / LARGEST, 0.0);
            if NIBBLES {
                entry.y = f32(8 * (total.x + total.y + total.z + total.w));
                var parts: array<vec4<u32>, 4>;
                for (var word = 0u; word < 4u; word += 1u) {
                    let a = codes[2u * word];
                    let b = codes[2u * word + 1u];
                    let even = vec4<i32>(a.xz, b.xz);
                    let odd = vec4<i32>(a.yw, b.yw);
                    parts[0][word] = high(even);
                    parts[1][word] = high(odd);
                    parts[2][word] = low(even);
                    parts[3][word] = low(odd);
                }
                for (var part = 0u; part < 4u; part += 1u) {
                    put(group, t, part, parts[part]);
                }
            } else {
                for (var half = 0u; half < HALVES; half += 1u) {
                    let j = 4u * half;
                    put(2u * group + half, t, 0u, vec4<u32>(high(codes[j]), high(codes[j + 1u]), high(codes[j + 2u]), high(codes[j + 3u])));
                    put(2u * group + half, t, 1u, vec4<u32>(low(codes[j]), low(codes[j + 1u]), low(codes[j + 2u]), low(codes[j + 3u])));
                }
            }
            for (var half = 0u; half < HALVES; half += 1u) {
                let v = HALVES * group + half;
                sh_groups[(v / SLICES * TOKENS + t) * SLICES + v % SLICES] = entry;
            }
        }
    }
}

fn dot_words(a: vec4<u32>, b: vec4<u32>, start: i32) -> i32 {
    return dot4I8Packed(a.w, b.w) + (dot4I8Packed(a.z, b.z) + (dot4I8Packed(a.y, b.y) + (dot4I8Packed(a.x, b.x) + start)));
}

// Adds the products of one vector of each row.
fn multiply(tile: Tile, step: u32, slice: u32, sums: ptr<function, array<f32, OUTPUTS>>) {
    var words = tile.words;
    var scales = tile.scales;
    for (var t = 0u; t < TOKENS; t += 1u) {
        let at = (step * TOKENS + t) * PARTS * (SLICES + 1u) + slice;
        let entry = sh_groups[(step * TOKENS + t) * SLICES + slice];
        let a = sh_x[at];
        let b = sh_x[at + SLICES + 1u];
        var c = vec4<u32>(0u);
        var d = vec4<u32>(0u);
        if NIBBLES {
            c = sh_x[at + 2u * (SLICES + 1u)];
            d = sh_x[at + 3u * (SLICES + 1u)];
        }
        for (var r = 0u; r < ROWS; r += 1u) {
            var product: f32;
            if NIBBLES {
                let even = words[r] & vec4<u32>(0x0F0F0F0Fu);
                let odd = (words[r] >> vec4<u32>(4u)) & vec4<u32>(0x0F0F0F0Fu);
                let highs = dot_words(odd, b, dot_words(even, a, 0));
                product = f32(256 * highs + dot_words(odd, d, dot_words(even, c, -i32(entry.y))));
            } else {
                product = f32(256 * dot_words(words[r], a, 0) + dot_words(words[r], b, 0));
            }
            let i = r * TOKENS + t;
            (*sums)[i] = fma(product, entry.x * scales[r], (*sums)[i]);
        }
    }
}
