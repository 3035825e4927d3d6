// Sums cannot be stored as they are to a y of another format.
fn store_all(sums: ptr<function, Sums>, first: u32) {}
