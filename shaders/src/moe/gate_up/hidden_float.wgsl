// Hidden values in f32, in the order in which the f32 products of `down` read them.

@group(0) @binding(HIDDEN) var<storage, read_write> hidden: array<f32>; // (T, HIDDEN_VALUES / 4, A·I / HIDDEN_VALUES, 4) f32

// Blocks that a workgroup takes in a row.
const ROUNDS: u32 = 1u;

// Vectors of HIDDEN_VALUES of all A·I values of a token are split into quads, and each quad's are together.
fn leave(token: u32, column: u32, turn: u32, value: f32) {
    let quad = column % HIDDEN_VALUES / 4u;
    let place = (token * (HIDDEN_VALUES / 4u) + quad) * (A * I / HIDDEN_VALUES) + column / HIDDEN_VALUES;
    hidden[4u * place + column % 4u] = value;
}

fn finish(lid: u32, token: u32, column: u32, turn: u32) {}
