// Selected scores as bits of a map in workgroup memory, and their indices in order. Needs MAP_WORDS, WG_SIZE, `selected` and `params.k`.

const MAP_BITS: u32 = 32u * MAP_WORDS;

var<workgroup> sh_map: array<atomic<u32>, MAP_WORDS>;

fn clear_map(lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < MAP_WORDS; i += WG_SIZE) {
        atomicStore(&sh_map[i], 0u);
    }
    workgroupBarrier();
}

// Writes the indices of the map from place `place` on, and returns the place after the last.
fn emit(row: u32, at: Lane, base: u32, end: u32, place: u32) -> u32 {
    workgroupBarrier();
    let words = (min(end - base, MAP_BITS) + 31u) / 32u;
    let each = (words + WG_SIZE - 1u) / WG_SIZE;
    let first = min(words, at.lid * each);
    let last = min(words, first + each);
    var n = 0u;
    for (var i = first; i < last; i += 1u) {
        n += countOneBits(atomicLoad(&sh_map[i]));
    }
    var to = row * params.k + place + workgroup_scan(n, at.lid, lane_of(at), lanes_of(at));
    for (var i = first; i < last; i += 1u) {
        var word = atomicLoad(&sh_map[i]);
        while word != 0u {
            selected[to] = i32(base + 32u * i + countTrailingZeros(word));
            to += 1u;
            word &= word - 1u;
        }
    }
    return place + workgroupUniformLoad(&sh_total);
}
