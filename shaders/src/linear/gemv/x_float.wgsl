// x of the GEMV in f32: any weight format.

const QUADS: u32 = WEIGHT_VALUES / 4u;
// Loads of x that one invocation has on their way at a time.
const BATCH: u32 = 4u;

// The padding keeps both the writes, quads first, and the reads, slices first, apart in the banks.
var<workgroup> sh_x: array<vec4<f32>, STEPS * TOKENS * QUADS * (SLICES + 1u)>;

// Stages vectors [start, end) of x · gain and adds the squares of x to `squares`.
fn stage(matrix: u32, start: u32, end: u32, lid: u32, squares: ptr<function, array<f32, TOKENS>>) {
    let count = (end - start) * QUADS;
    for (var t = 0u; t < TOKENS; t += 1u) {
        // Rows past the last repeat it; their results are dropped.
        let row = (matrix * params.x_batch + min(t, params.t - 1u) * params.x_stride + params.x_offset) / 4u + start * QUADS;
        for (var base = lid; base < count; base += BATCH * WG_SIZE) {
            var values: array<vec4<f32>, BATCH>;
            for (var b = 0u; b < BATCH; b += 1u) {
                values[b] = x[row + min(base + b * WG_SIZE, count - 1u)];
            }
            for (var b = 0u; b < BATCH; b += 1u) {
                let j = base + b * WG_SIZE;
                if j < count {
                    (*squares)[t] += dot(values[b], values[b]);
                    let v = j / QUADS;
                    let slot = ((v / SLICES * TOKENS + t) * QUADS + j % QUADS) * (SLICES + 1u) + v % SLICES;
                    sh_x[slot] = values[b] * gain4(start * QUADS + j);
                }
            }
        }
    }
}

// Adds the products of one vector of each row.
fn multiply(tile: Tile, step: u32, slice: u32, sums: ptr<function, array<f32, OUTPUTS>>) {
    var words = tile.words;
    var scales = tile.scales;
    var part: array<f32, OUTPUTS>;
    for (var q = 0u; q < QUADS; q += 1u) {
        var w: array<vec4<f32>, ROWS>;
        for (var r = 0u; r < ROWS; r += 1u) {
            w[r] = weight4(words[r], q);
        }
        for (var t = 0u; t < TOKENS; t += 1u) {
            let v = sh_x[((step * TOKENS + t) * QUADS + q) * (SLICES + 1u) + slice];
            for (var r = 0u; r < ROWS; r += 1u) {
                let i = r * TOKENS + t;
                part[i] = fma(w[r].w, v.w, fma(w[r].z, v.z, fma(w[r].y, v.y, fma(w[r].x, v.x, part[i]))));
            }
        }
    }
    for (var i = 0u; i < OUTPUTS; i += 1u) {
        (*sums)[i] = fma(part[i], scales[i / TOKENS], (*sums)[i]);
    }
}
