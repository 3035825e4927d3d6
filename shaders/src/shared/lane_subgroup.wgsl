// The invocation's place in its workgroup and in its subgroup.

struct Lane {
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
}

fn lane_of(at: Lane) -> u32 {
    return at.lane;
}

fn lanes_of(at: Lane) -> u32 {
    return at.lanes;
}
