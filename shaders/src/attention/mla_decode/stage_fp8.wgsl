// A staged item is a vector of 16 e4m3 codes or of 8 bf16 values, 40 to a row of 656 bytes: 32 of codes, one vector of 4 scales between, 8 of bf16.

struct Item {
    words: vec4<u32>,
    scale: f32,
}

const ITEMS: u32 = 40u;

fn fetch(row: u32, item: u32) -> Item {
    let at = row * 41u;
    return Item(cache[at + select(item + 1u, item, item < 32u)], bitcast<f32>(cache[at + 32u][item / 8u & 3u]));
}

// Widening to f32 and back is exact, and compilers drop it.
fn e4m3_halves(word: u32, scale: f16) -> vec4<f16> {
    return vec4<f16>(vec4(e4m3_pair(word), e4m3_pair(word >> 16u))) * scale;
}

fn put(row: u32, item: u32, value: Item) {
    let w = value.words;
    let at = row * ROW_STRIDE;
    if item < 32u {
        let scale = f16(256.0 * value.scale);
        sh_rows[at + 4u * item] = e4m3_halves(w.x, scale);
        sh_rows[at + 4u * item + 1u] = e4m3_halves(w.y, scale);
        sh_rows[at + 4u * item + 2u] = e4m3_halves(w.z, scale);
        sh_rows[at + 4u * item + 3u] = e4m3_halves(w.w, scale);
    } else {
        sh_rows[at + 64u + 2u * item] = vec4<f16>(vec4(bf16_two(w.x), bf16_two(w.y)));
        sh_rows[at + 65u + 2u * item] = vec4<f16>(vec4(bf16_two(w.z), bf16_two(w.w)));
    }
}
