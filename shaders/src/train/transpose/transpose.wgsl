// y = xᵀ, rounded to Y: a tile of 32 × 32 for each workgroup.
//
// Grid: x and y over the tiles, see `grid` of the host.
// Requires: nothing beyond the base tier.
// Numerics: values are rounded once.

struct Params {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>; // (R, C) f32
@group(0) @binding(1) var<storage, read_write> y: array<Y>; // (C, R) f32 or f16
@group(0) @binding(2) var<storage, read> params: Params;

// A row is one longer than the tile, so that columns lie in different banks.
var<workgroup> sh_tile: array<f32, 32u * 33u>;

@compute @workgroup_size(WG_SIZE)
fn main(
    @builtin(local_invocation_index) lid: u32,
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
) {
    let along = (params.columns + 31u) / 32u;
    let place = wid.y * grid.x + wid.x;
    let row = (place / along) * 32u;
    let column = (place % along) * 32u;
    if row >= params.rows {
        return;
    }
    let lane = lid % 32u;
    for (var line = lid / 32u; line < 32u; line += WG_SIZE / 32u) {
        if row + line < params.rows && column + lane < params.columns {
            sh_tile[line * 33u + lane] = x[(row + line) * params.columns + column + lane];
        }
    }
    workgroupBarrier();
    for (var line = lid / 32u; line < 32u; line += WG_SIZE / 32u) {
        if column + line < params.columns && row + lane < params.rows {
            y[(column + line) * params.rows + row + lane] = Y(sh_tile[lane * 33u + line]);
        }
    }
}
