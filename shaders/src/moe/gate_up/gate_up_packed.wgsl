// hidden = silu(W_gate x) · (W_up x) for the chosen experts of each token, q4 weights; with NORM, x is normalised first.
//
// Grid: workgroups wid.x share the blocks of WG_SIZE / TEAM * ROWS hidden values of all slots (active experts) of token wid.y, ROUNDS in a row.
// A workgroup packs all of x once, chooses the experts if no launch before has, and then goes from block to block. A team of TEAM invocations takes
// ROWS gate rows and their up rows; each invocation takes one vector of weights of every row at a time, and the next ones, of this block or of the
// next one, are on their way while it multiplies. Blocks of shared experts come first, since these need no choice.
// Loops over an invocation's registers are written out, see `unrolled`.
// Requires: TEAM consecutive invocations, at least four, are in one subgroup; D a multiple of 32; x_stride and x_offset multiples of 4.
// Numerics: x as 16-bit integers with a scale for each group of 32, see packed_q4.wgsl; products and their sum over a group are exact, then f32.
// Output: the hidden values as `down` reads them, see hidden_float.wgsl and hidden_packed.wgsl.

struct Params {
    x_stride: u32,
    x_offset: u32,
    eps: f32,
    logits_stride: u32,
    logits_offset: u32,
    scale: f32,
}

const UNITS: u32 = D / WEIGHT_VALUES;
const BLOCK: u32 = WG_SIZE / TEAM * ROWS;
const BLOCKS: u32 = (I + BLOCK - 1u) / BLOCK;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>; // (T, x_stride / 4) f32, four in a vector
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // (E, 2·I, D) q4, gate rows first
@group(0) @binding(PARAMS) var<storage, read> params: Params;

struct Tile {
    words: array<vec4<u32>, PAIRS>,
    scales: array<f32, PAIRS>,
}

// Row k of ROWS gate rows followed by ROWS up rows. Rows past the end repeat the last one.
fn row_of(first: u32, k: u32) -> u32 {
    return min(first + k % ROWS, I - 1u) + select(0u, I, k >= ROWS);
}

fn load(expert: u32, first: u32, unit: u32) -> Tile {
    var tile: Tile;
    for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
        let row = row_of(first, k);
        tile.words[k] = weights[(expert * 2u * I + row) * UNITS + unit];
        tile.scales[k] = weight_scale(expert, row, unit * WEIGHT_VALUES, 2u * I, D);
    }
    return tile;
}

// The slot of a block, from the last one to the first.
fn slot_of(block: u32) -> u32 {
    return A - 1u - block / BLOCKS;
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let place = at.lid % TEAM;
    let own = at.lid / TEAM * ROWS;
    let token = wid.y;
    let start = min(place, UNITS - 1u);
    let block0 = wid.x * ROUNDS;
    let is_known = slot_of(block0) >= CHOSEN;
    var next: Tile;
    // The first weights are on their way while x is packed.
    if is_known {
        next = load(expert_of(token, slot_of(block0)), block0 % BLOCKS * BLOCK + own, start);
    }
    bring_logits(at.lid, token);
    let squares = pack(at.lid, (params.x_offset + token * params.x_stride) / 4u, UNITS * 4u);
    choose(at.lid, token, wid.x == 0u);
    if !is_known {
        next = load(expert_of(token, slot_of(block0)), block0 % BLOCKS * BLOCK + own, start);
    }
    var root = 1.0;
    if NORM {
        root = inverseSqrt(workgroup_sum(squares, at.lid, lane_of(at), lanes_of(at)) / f32(D) + params.eps);
    }
    workgroupBarrier();

    var turn = 0u;
    var following = 0u;
    for (var block = block0; block < A * BLOCKS; block = following) {
        // The last of a row of blocks is followed by the first of the workgroup's next one.
        following = block + 1u + select(0u, (grid.x - 1u) * ROUNDS, block % ROUNDS == ROUNDS - 1u);
        let first = block % BLOCKS * BLOCK + own;
        let slot = slot_of(block);
        let expert = expert_of(token, slot);
        // Past the last block the present one is read again, from a cache.
        let after = select(block, following, following < A * BLOCKS);
        let after_first = after % BLOCKS * BLOCK + own;
        let after_expert = expert_of(token, slot_of(after));
        var sums: array<f32, PAIRS>;
        for (var unit = place; unit < UNITS; unit += TEAM) {
            var tile = next;
            let stays = unit + TEAM < UNITS;
            next = load(select(after_expert, expert, stays), select(after_first, first, stays), select(start, unit + TEAM, stays));
            let part = part_of(unit);
            for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
                sums[k] = fma(product(tile.words[k], part), part.scale * tile.scales[k], sums[k]);
            }
        }
        for (var k = 0u; k < PAIRS; k += 1u) { // unrolled
            sums[k] = lanes_sum(sums[k]) * root;
        }
        for (var r = 0u; r < ROWS; r += 1u) { // unrolled
            if place == r % TEAM && first + r < I {
                let gate = sums[r];
                leave(token, slot * I + first + r, turn, gate / (1.0 + exp(-gate)) * sums[ROWS + r]);
            }
        }
        if block % ROUNDS == ROUNDS - 1u {
            finish(at.lid, token, slot * I + block % BLOCKS * BLOCK, turn);
            turn = 1u - turn;
        }
    }
}
