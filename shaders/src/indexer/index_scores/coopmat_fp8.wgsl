// Blocks of planar pages of e4m3 keys into workgroup memory, as f16 times 2^-8. A page is 64 rows of DIM bytes, then 64 scales.
// Bytes 0 and 2 of a word come before bytes 1 and 3, which saves shifts; queries are staged in the same order.

alias KeyWord = vec4<u32>;

const FP8: bool = true;
const PAGE_WORDS: u32 = 4u * DIM + 16u;
const WORDS: u32 = BLOCK * DIM / 16u;

// Sign, exponent and fraction of two e4m3 values, in the high byte of each half of the word, move to their places in an f16. The exponent keeps
// its bias of 7 where f16 has 15, hence 2^-8; subnormals stay exact.
fn halves(word: u32) -> vec2<f16> {
    return vec2<f16>(unpack2x16float((word & 0x80008000u) | ((word & 0x7F007F00u) >> 1u)));
}

// What one invocation carries of a block: every WG_SIZE-th vector, and scales.
struct Block {
    words: array<KeyWord, LOADS>,
    scales: KeyWord,
}

// Block `part` of a page.
fn load_block(page: u32, part: u32, lid: u32) -> Block {
    let start = page * PAGE_WORDS;
    let at = start + part * WORDS + lid;
    var block: Block;
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        if i * WG_SIZE + WG_SIZE <= WORDS || i * WG_SIZE + lid < WORDS {
            block.words[i] = keys[at + i * WG_SIZE];
        }
    }
    block.scales = keys[start + 4u * DIM + part * (BLOCK / 4u) + lid % (BLOCK / 4u)];
    return block;
}

fn store_block(loaded: Block, lid: u32) {
    var block = loaded;
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        let at = i * WG_SIZE + lid;
        if i * WG_SIZE + WG_SIZE <= WORDS || at < WORDS {
            let word = block.words[i];
            let to = at / (DIM / 16u) * ROW + at % (DIM / 16u) * 4u;
            sh_rows[to] = vec4<f16>(halves(word.x << 8u), halves(word.x));
            sh_rows[to + 1u] = vec4<f16>(halves(word.y << 8u), halves(word.y));
            sh_rows[to + 2u] = vec4<f16>(halves(word.z << 8u), halves(word.z));
            sh_rows[to + 3u] = vec4<f16>(halves(word.w << 8u), halves(word.w));
        }
    }
    if lid < BLOCK / 4u {
        sh_scales[lid] = bitcast<vec4<f32>>(block.scales) * 256.0;
    }
}

fn key_scale(key: u32) -> f32 {
    return sh_scales[key / 4u][key % 4u];
}
