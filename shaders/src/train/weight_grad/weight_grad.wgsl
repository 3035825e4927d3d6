// dW = dyᵀ · x in f32 over a part of the tokens, one tile of 64 × 64 for each workgroup.
//
// Grid: x and y over the tiles, z over the parts. An invocation keeps the products of four columns of dy with four of x.
// Requires: nothing beyond the base tier; O and I multiples of 8.
// Numerics: f32 throughout, sums in the order of the tokens.

const QUADS: u32 = 16u;

var<workgroup> sh_dy: array<vec4<f32>, TILE_K * QUADS>;
var<workgroup> sh_x: array<vec4<f32>, TILE_K * QUADS>;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let place = wid.y * grid.x + wid.x;
    if place >= tiles() {
        return;
    }
    let first = tile_of(place);
    let column_dy = lid / QUADS;
    let column_x = lid % QUADS;
    var sums: array<vec4<f32>, 4>;
    for (var p = 0u; p < 4u; p += 1u) {
        sums[p] = vec4<f32>();
    }
    let start = wid.z * params.rows;
    let end = min(start + params.rows, params.t);
    for (var token = start; token < end; token += TILE_K) {
        // One token of both for each half of the quads.
        let row = token + lid / QUADS;
        sh_dy[lid] = dy_at(row, first.x / 4u + lid % QUADS, row < end);
        sh_x[lid] = x_at(row, first.y / 4u + lid % QUADS);
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k += 1u) {
            let a = sh_dy[k * QUADS + column_dy];
            let b = sh_x[k * QUADS + column_x];
            sums[0] += a.x * b;
            sums[1] += a.y * b;
            sums[2] += a.z * b;
            sums[3] += a.w * b;
        }
        workgroupBarrier();
    }
    let i = first.y + column_x * 4u;
    for (var p = 0u; p < 4u; p += 1u) {
        let o = first.x + column_dy * 4u + p;
        if o < params.o && i < params.i {
            let to = (wid.z * params.o + o) * params.i + i;
            for (var q = 0u; q < 4u; q += 1u) {
                parts[to + q] = sums[p][q];
            }
        }
    }
}
