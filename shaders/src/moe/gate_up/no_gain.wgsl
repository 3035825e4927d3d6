// Without a norm x stays as it is.

fn gained(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return value;
}
