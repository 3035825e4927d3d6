//! Prints the benchmark cases of the kernels: `bench [FILTER] [TIER]`. `SFERIC_ADAPTER` picks the adapter.
#![allow(clippy::unwrap_used, reason = "a tool for developers: it stops at the first surprise")]

use sferic_gpu::{Benches, Device, Doing, Selection, run_benches};
use std::ops::ControlFlow;

fn main() {
    let mut args = std::env::args().skip(1);
    let (filter, tier) = (args.next().unwrap_or_default(), args.next());
    let selection = std::env::var("SFERIC_ADAPTER").map_or(Selection::Best, Selection::Named);
    let device = pollster::block_on(Device::open(&selection)).unwrap();
    println!("{} ({}, {}): {}", device.name, device.api, device.driver, device.capabilities.features);
    let print = |row: &sferic_gpu::Row| match &row.result {
        Ok(measured) => println!(
            "{:>10.2} us ±{:4.1}% {:>7.0} GB/s {:>7.1} TFLOPS  {:9} {}",
            measured.seconds * 1e6,
            measured.spread * 100.0,
            row.gigabytes_per_second(),
            row.teraflops(),
            row.tier,
            row.case
        ),
        Err(reason) => println!("{reason}  {:9} {}", row.tier, row.case),
    };
    let benches = Benches { filter: &filter, tier: tier.as_deref(), samples: 9, short: false };
    let rows = pollster::block_on(run_benches(&device, benches, async |Doing { what, .. }| {
        eprintln!("{what}");
        ControlFlow::Continue(())
    }));
    let rows = rows.unwrap();
    rows.iter().for_each(print);
    println!("{} rows", rows.len());
}
