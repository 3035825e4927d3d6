// Stages the rows of a step as f16 in workgroup memory, from rows of 656 bytes: 32 vectors of 16 e4m3 codes, one of 4 scales, 8 of bf16.
// An item is a vector of codes or of bf16; five loads are under way at once.

struct Item {
    words: vec4<u32>,
    scale: f32,
}

const ITEMS: u32 = 40u;

fn row_item(i: u32) -> Item {
    let at = (sh_row[i / ITEMS] & ~UNFILLED) * 41u;
    let item = i % ITEMS;
    return Item(cache[at + select(item + 1u, item, item < 32u)], bitcast<f32>(cache[at + 32u][item / 8u & 3u]));
}

// Widening to f32 and back is exact, and compilers drop it.
fn e4m3_halves(word: u32, scale: f16) -> vec4<f16> {
    return vec4<f16>(vec4(e4m3_pair(word), e4m3_pair(word >> 16u))) * scale;
}

fn stage_item(i: u32, value: Item) {
    let item = i % ITEMS;
    let w = value.words;
    let at = i / ITEMS * ROW_STRIDE;
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

fn stage_rows(lid: u32) {
    for (var i = lid; i < ROWS * ITEMS; i += 5u * WG_SIZE) {
        let v0 = row_item(i);
        let v1 = row_item(i + WG_SIZE);
        let v2 = row_item(i + 2u * WG_SIZE);
        let v3 = row_item(i + 3u * WG_SIZE);
        let v4 = row_item(i + 4u * WG_SIZE);
        stage_item(i, v0);
        stage_item(i + WG_SIZE, v1);
        stage_item(i + 2u * WG_SIZE, v2);
        stage_item(i + 3u * WG_SIZE, v3);
        stage_item(i + 4u * WG_SIZE, v4);
    }
}
