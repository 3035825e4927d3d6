// What both kernels share: parameters, bindings, and the order of the tiles. Needs TILE_O, TILE_I and the aliases DY and X.

struct Params {
    t: u32,
    o: u32,
    i: u32,
    rows: u32,
}

@group(0) @binding(0) var<storage, read> dy: array<vec4<DY>>; // (T, O) f32 or f16
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>; // (T, I) f32 or f16
@group(0) @binding(2) var<storage, read_write> parts: array<f32>; // (Z, O, I) f32
@group(0) @binding(3) var<storage, read> params: Params;

fn tiles() -> u32 {
    return ((params.o + TILE_O - 1u) / TILE_O) * ((params.i + TILE_I - 1u) / TILE_I);
}

// Returns the first column of dy and of x.
fn tile_of(place: u32) -> vec2<u32> {
    let along = (params.i + TILE_I - 1u) / TILE_I;
    return vec2<u32>((place / along) * TILE_O, (place % along) * TILE_I);
}

// Four values of dy, zero past the part: what x holds there does not count. Columns past the end are clamped: nobody writes their products.
fn dy_at(row: u32, quad: u32, inside: bool) -> vec4<f32> {
    let at = min(row, params.t - 1u) * (params.o / 4u) + min(quad, params.o / 4u - 1u);
    return select(vec4<f32>(), vec4<f32>(dy[at]), inside);
}

fn x_at(row: u32, quad: u32) -> vec4<f32> {
    return vec4<f32>(x[min(row, params.t - 1u) * (params.i / 4u) + min(quad, params.i / 4u - 1u)]);
}
