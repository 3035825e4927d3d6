// Blocks of f16 keys into workgroup memory, by way of registers.

alias KeyWord = vec4<f16>;

const FP8: bool = false;
const PAGE_WORDS: u32 = 16u * DIM;
const WORDS: u32 = BLOCK * DIM / 4u;

// What one invocation carries of a block: every WG_SIZE-th vector.
struct Block {
    words: array<KeyWord, LOADS>,
}

// Block `part` of a page.
fn load_block(page: u32, part: u32, lid: u32) -> Block {
    let at = page * PAGE_WORDS + part * WORDS + lid;
    var block: Block;
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        if i * WG_SIZE + WG_SIZE <= WORDS || i * WG_SIZE + lid < WORDS {
            block.words[i] = keys[at + i * WG_SIZE];
        }
    }
    return block;
}

fn store_block(loaded: Block, lid: u32) {
    var block = loaded;
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        let at = i * WG_SIZE + lid;
        if i * WG_SIZE + WG_SIZE <= WORDS || at < WORDS {
            sh_rows[at / (DIM / 4u) * ROW + at % (DIM / 4u)] = block.words[i];
        }
    }
}

fn key_scale(key: u32) -> f32 {
    return 1.0;
}
