// What both passes share: parameters, the order of logits, weights.
//
// A logit is handled as its key, a word that is larger for a larger logit: −0 counts as +0, NaN and −∞ have key 0 and are never chosen, and
// +∞ counts as the largest finite number.

struct Params {
    // Rows T.
    t: u32,
    // Tokens V, and chunks of CHUNK tokens.
    v: u32,
    chunks: u32,
    // Vectors from one row of logits to the next, and before the first.
    stride: u32,
    offset: u32,
    // Words from one row of the state to the next.
    state_stride: u32,
    // 0 keeps all.
    top_k: u32,
    // p · 2^32 and 1 − p; 0 keeps all.
    top_p: u32,
    rest_p: f32,
    // ln min_p, or a large negative number.
    log_min_p: f32,
    // 0 takes the largest logit.
    temperature: f32,
    repetition: f32,
    presence: f32,
    frequency: f32,
}

const CHUNK = 512u;
const CHUNK_LANES = 128u;

fn key_of(bits: u32) -> u32 {
    if (bits & 0x7FFFFFFFu) > 0x7F800000u || bits == 0xFF800000u {
        return 0u;
    }
    if bits == 0x7F800000u {
        return 0xFF7FFFFFu;
    }
    if (bits & 0x80000000u) != 0u {
        return select(~bits, 0x80000000u, bits == 0x80000000u);
    }
    return bits | 0x80000000u;
}

fn value_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7FFFFFFFu, (key & 0x80000000u) != 0u));
}

// e^x for x ≤ 0, to about one unit of the last place, and 0 below 2^-45: the same on every adapter.
fn weight(x: f32) -> f32 {
    if x < -31.2 {
        return 0.0;
    }
    let n = round(x * 1.44269504);
    let r = (x - n * 0.693359375) + n * 2.12194440e-4;
    var p = 1.98412698e-4;
    p = p * r + 1.38888889e-3;
    p = p * r + 8.33333333e-3;
    p = p * r + 4.16666667e-2;
    p = p * r + 1.66666667e-1;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * bitcast<f32>(u32(i32(n) + 127) << 23u);
}

// How far a logit is below the largest, over the temperature.
fn distance(key: u32, most: u32) -> f32 {
    return (value_of(key) - value_of(most)) / params.temperature;
}

// The keys of four tokens, of which those past the vocabulary are 0.
fn keys4(t: u32, vector: u32) -> vec4<u32> {
    if vector * 4u >= params.v {
        return vec4<u32>();
    }
    let raw = logits[t * params.stride + params.offset + vector];
    let keys = adjusted(raw, t * ((params.v + 3u) / 4u) + vector);
    return select(vec4<u32>(), keys, vec4<u32>(vector * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.v));
}
