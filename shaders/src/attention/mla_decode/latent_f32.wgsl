// Eight values of a cached row, f32.

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn row_eight(row: u32, j: u32) -> Eight {
    let at = row * ((LATENT + ROTATED) / 4u) + 2u * j;
    return Eight(bitcast<vec4<f32>>(cache[at]), bitcast<vec4<f32>>(cache[at + 1u]));
}
