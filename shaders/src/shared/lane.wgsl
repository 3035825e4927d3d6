// The invocation's place, without subgroups: one lane.

struct Lane {
    @builtin(local_invocation_index) lid: u32,
}

fn lane_of(at: Lane) -> u32 {
    return 0u;
}

fn lanes_of(at: Lane) -> u32 {
    return 1u;
}
