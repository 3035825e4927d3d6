// No penalties and no bias.

fn adjusted(raw: vec4<u32>, at: u32) -> vec4<u32> {
    return vec4<u32>(key_of(raw.x), key_of(raw.y), key_of(raw.z), key_of(raw.w));
}

fn count_token(at: u32) {
}
