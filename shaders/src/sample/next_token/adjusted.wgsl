// Repetition, presence and frequency penalties, then the bias. A count's low 31 bits say how often the token is in the reply, its highest bit
// whether it is in the prompt.

fn adjusted_key(raw: u32, count: u32, bias: f32) -> u32 {
    if key_of(raw) == 0u || key_of(bitcast<u32>(bias)) == 0u {
        return 0u;
    }
    var logit = value_of(key_of(raw));
    if count != 0u {
        logit = select(logit * params.repetition, logit / params.repetition, logit > 0.0);
    }
    let replies = count & 0x7FFFFFFFu;
    if replies != 0u {
        logit -= params.presence + params.frequency * f32(replies);
    }
    return key_of(bitcast<u32>(logit + bias));
}

fn adjusted(raw: vec4<u32>, at: u32) -> vec4<u32> {
    let count = vec4<u32>(counts[at * 4u], counts[at * 4u + 1u], counts[at * 4u + 2u], counts[at * 4u + 3u]);
    let b = bias[at];
    return vec4<u32>(
        adjusted_key(raw.x, count.x, b.x),
        adjusted_key(raw.y, count.y, b.y),
        adjusted_key(raw.z, count.z, b.z),
        adjusted_key(raw.w, count.w, b.w),
    );
}
