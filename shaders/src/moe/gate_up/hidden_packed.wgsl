// Hidden values as 16-bit integers with a scale for each group of 32, as packed_q4_product.wgsl takes them.
// BLOCK divides 32, and 32 divides I: a workgroup takes the blocks of a group in a row, and packs it after the last one.

@group(0) @binding(HIDDEN) var<storage, read_write> hidden: array<vec4<u32>>; // (T, 5, A·I / 32): four words of codes, scale and start

// Blocks that a workgroup takes in a row.
const ROUNDS: u32 = 32u / BLOCK;

// Two groups, used by turns, so that one barrier is enough.
var<workgroup> sh_hidden: array<f32, 64>;

fn leave(token: u32, column: u32, turn: u32, value: f32) {
    sh_hidden[turn * 32u + column % 32u] = value;
}

// Packs the group of `column`. Every invocation does, and the first four write: the exchange of four needs all of them.
fn finish(lid: u32, token: u32, column: u32, turn: u32) {
    workgroupBarrier();
    let j = lid % 4u;
    let at = turn * 32u + 8u * j;
    let a = vec4<f32>(sh_hidden[at], sh_hidden[at + 1u], sh_hidden[at + 2u], sh_hidden[at + 3u]);
    let b = vec4<f32>(sh_hidden[at + 4u], sh_hidden[at + 5u], sh_hidden[at + 6u], sh_hidden[at + 7u]);
    let eight = pack_eight(a, b);
    let groups = A * I / 32u;
    let place = token * 5u * groups + column / 32u;
    if lid < 4u {
        hidden[place + j * groups] = eight.words;
    }
    if lid == 4u {
        hidden[place + 4u * groups] = vec4<u32>(group_of(eight), 0u, 0u);
    }
}
