// Another kernel takes the queries.

const QUERY_GROUPS = 0u;

fn query(t: u32, unit: u32) {
}
