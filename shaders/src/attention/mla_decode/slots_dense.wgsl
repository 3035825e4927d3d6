// The slots of a query are all positions up to its own.

@group(0) @binding(3) var<storage, read> positions: array<u32>; // (T) u32

fn slot_count(t: u32) -> u32 {
    return positions[t] + 1u;
}

fn slot_position(t: u32, slot: u32) -> i32 {
    return i32(slot);
}
