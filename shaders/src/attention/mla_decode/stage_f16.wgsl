// A staged item is 16 bytes of an f16 row, 72 to a row.

struct Item {
    low: vec4<f16>,
    high: vec4<f16>,
}

const ITEMS: u32 = 72u;

fn fetch(row: u32, item: u32) -> Item {
    let at = row * (2u * ITEMS) + 2u * item;
    return Item(cache[at], cache[at + 1u]);
}

fn put(row: u32, item: u32, value: Item) {
    let at = row * ROW_STRIDE + 2u * item;
    sh_rows[at] = value.low;
    sh_rows[at + 1u] = value.high;
}
