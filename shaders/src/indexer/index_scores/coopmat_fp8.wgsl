// Planar pages of e4m3 keys into workgroup memory, as f16 times 2^-8: 64 rows of DIM bytes, then 64 scales.
// Bytes 0 and 2 of a word come before bytes 1 and 3, which saves shifts; queries are staged in the same order.

alias KeyWord = vec4<u32>;

const FP8: bool = true;

// Sign, exponent and fraction of two e4m3 values, in the high byte of each half of the word, move to their places in an f16. The exponent keeps
// its bias of 7 where f16 has 15, hence 2^-8; subnormals stay exact.
fn halves(word: u32) -> vec2<f16> {
    return vec2<f16>(unpack2x16float((word & 0x80008000u) | ((word & 0x7F007F00u) >> 1u)));
}

const WORDS: u32 = 4u * DIM;

// What one invocation carries of a page: every WG_SIZE-th vector, and scales.
struct Page {
    r0: KeyWord,
    r1: KeyWord,
    r2: KeyWord,
    r3: KeyWord,
    scales: KeyWord,
}

fn load_page(page: u32, lid: u32) -> Page {
    let start = page * (WORDS + 16u);
    let at = start + lid;
    var p: Page;
    p.r0 = keys[at];
    if WORDS > 1u * WG_SIZE {
        p.r1 = keys[at + 1u * WG_SIZE];
    }
    if WORDS > 2u * WG_SIZE {
        p.r2 = keys[at + 2u * WG_SIZE];
        p.r3 = keys[at + 3u * WG_SIZE];
    }
    p.scales = keys[start + WORDS + lid % 16u];
    return p;
}

fn put(i: u32, word: KeyWord) {
    let at = i / (DIM / 16u) * ROW + i % (DIM / 16u) * 4u;
    sh_rows[at + 0u] = vec4<f16>(halves(word.x << 8u), halves(word.x));
    sh_rows[at + 1u] = vec4<f16>(halves(word.y << 8u), halves(word.y));
    sh_rows[at + 2u] = vec4<f16>(halves(word.z << 8u), halves(word.z));
    sh_rows[at + 3u] = vec4<f16>(halves(word.w << 8u), halves(word.w));
}

fn store_page(p: Page, lid: u32) {
    put(lid, p.r0);
    if WORDS > 1u * WG_SIZE {
        put(lid + 1u * WG_SIZE, p.r1);
    }
    if WORDS > 2u * WG_SIZE {
        put(lid + 2u * WG_SIZE, p.r2);
        put(lid + 3u * WG_SIZE, p.r3);
    }
    if lid < 16u {
        sh_scales[lid] = bitcast<vec4<f32>>(p.scales) * 256.0;
    }
}

fn key_scale(key: u32) -> f32 {
    return sh_scales[key / 4u][key % 4u];
}
