// Rows of the indexer, and what the kernels of its loss read. Needs QK, HEADS, HI, DI.
//
// A row of the index holds HI queries of DI values, the key of DI values, and HI weights.

struct Params {
    t: u32,
    // The softmax scale of attention times log2(e): exponentials are powers of two.
    scale: f32,
    // What gradients are multiplied by.
    coefficient: f32,
}

const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;
const LOWEST: f32 = -3e38;
const KEY_AT: u32 = HI * DI;
const WEIGHTS_AT: u32 = HI * DI + DI;
const INDEX_ROW: u32 = HI * DI + DI + HI;

fn token_at(b: u32, t: u32) -> u32 {
    return b * params.t + min(t, params.t - 1u);
}
