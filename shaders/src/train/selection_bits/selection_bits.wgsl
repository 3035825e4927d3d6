// bits[t, s / 32] has bit s % 32 set for each selected token s.
//
// Grid: a workgroup takes a row, over x and y; each invocation forms words, whose first token it finds by halving the row.
// Requires: nothing beyond the base tier; a row ascends, with -1 behind its last token.
// Numerics: whole numbers.

struct Params {
    rows: u32,
    k: u32,
    words: u32,
    // Where the first row goes.
    first_row: u32,
}

@group(0) @binding(0) var<storage, read> selected: array<u32>; // (rows, K) i32, of which -1 is the largest u32
@group(0) @binding(1) var<storage, read_write> bits: array<u32>; // (B, T, words) u32
@group(0) @binding(2) var<storage, read> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    let end = (row + 1u) * params.k;
    for (var word = lid; word < params.words; word += 64u) {
        var at = row * params.k;
        var behind = end;
        while at < behind {
            let middle = (at + behind) / 2u;
            if selected[middle] < 32u * word {
                at = middle + 1u;
            } else {
                behind = middle;
            }
        }
        var found = 0u;
        while at < end && selected[at] < 32u * word + 32u {
            found |= 1u << (selected[at] % 32u);
            at += 1u;
        }
        bits[(params.first_row + row) * params.words + word] = found;
    }
}
