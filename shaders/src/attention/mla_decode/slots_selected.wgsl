// The slots of a query are its selected positions; those after the last are -1.

@group(0) @binding(3) var<storage, read> selected: array<i32>; // (T, K) i32

fn slot_count(t: u32) -> u32 {
    return params.n_slots;
}

fn slot_position(t: u32, slot: u32) -> i32 {
    return selected[t * params.n_slots + slot];
}
