// Rotation of eight components by the angles of a token. Needs ROPE and the binding `step`, rows of R/4 + 1 vectors: cosines and sines, and
// in the last one the cache row.
//
// An invocation holds 8 components as two vectors. In the interleaved layout they are neighbours, in the half-split layout the second vector
// is half a rotated width behind the first, so that every pair is in one invocation.

const STEP_VECTORS = ROPE / 4u + 1u;
// Invocations that share the rotated part of one head.
const ROPE_LANES = ROPE / 8u;

struct Eight {
    a: vec4<f32>,
    b: vec4<f32>,
}

// Cosines and sines of four pairs.
struct Angles {
    c: vec4<f32>,
    s: vec4<f32>,
}

// Where the two vectors of lane `lane` are in a vector of rotated blocks, in components.
fn spots(lane: u32, half_split: bool) -> vec2<u32> {
    if half_split {
        let first = lane / ROPE_LANES * ROPE + lane % ROPE_LANES * 4u;
        return vec2<u32>(first, first + ROPE / 2u);
    }
    return vec2<u32>(lane * 8u, lane * 8u + 4u);
}

// The angles of pairs 4·lane to 4·lane + 3 of token t.
fn angles(t: u32, lane: u32) -> Angles {
    let even = bitcast<vec4<f32>>(step[t * STEP_VECTORS + lane * 2u]);
    let odd = bitcast<vec4<f32>>(step[t * STEP_VECTORS + lane * 2u + 1u]);
    return Angles(vec4<f32>(even.x, even.z, odd.x, odd.z), vec4<f32>(even.y, even.w, odd.y, odd.w));
}

fn rotated(v: Eight, by: Angles, half_split: bool) -> Eight {
    var first = v.a;
    var second = v.b;
    if !half_split {
        first = vec4<f32>(v.a.x, v.a.z, v.b.x, v.b.z);
        second = vec4<f32>(v.a.y, v.a.w, v.b.y, v.b.w);
    }
    let x = first * by.c - second * by.s;
    let y = first * by.s + second * by.c;
    if half_split {
        return Eight(x, y);
    }
    return Eight(vec4<f32>(x.x, y.x, x.y, y.y), vec4<f32>(x.z, y.z, x.w, y.w));
}
