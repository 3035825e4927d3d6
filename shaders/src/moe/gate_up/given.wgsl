// Experts that an earlier launch has chosen.

@group(0) @binding(EXPERTS) var<storage, read> experts: array<u32>; // (T, A) u32

const CHOSEN: u32 = 0u;

fn bring_logits(lid: u32, token: u32) {}

fn choose(lid: u32, token: u32, leaves: bool) {}

fn expert_of(token: u32, slot: u32) -> u32 {
    return experts[token * A + slot];
}
