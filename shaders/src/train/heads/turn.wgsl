// The pairs of a rotation. Needs DR, the rotated width, and INTERLEAVED.

struct Params {
    n: u32,
    t: u32,
}

// A component's pair, the other component of it, and the sign of the sine.
struct Pair {
    idx: u32,
    other: u32,
    sign: f32,
}

fn pair_of(r: u32) -> Pair {
    if INTERLEAVED {
        return Pair(r / 2u, r ^ 1u, select(-1.0, 1.0, (r & 1u) == 1u));
    }
    return Pair(r % (DR / 2u), (r + DR / 2u) % DR, select(-1.0, 1.0, r >= DR / 2u));
}
