//! The suite and the benchmarks of the kernel, as data.

use super::{MlaPrefill, Sizes};
use crate::attention::inputs::{Inputs, Q_OFFSET, SCALE, Setup, U_OFFSET};
use crate::attention::mla_decode::cases::coop_specs;
use crate::attention::mla_decode::{LatentFormat, MlaDecode, Slots, Tiles};
use crate::kernel::{Capabilities, Case, Check, Init, KernelError, Step, Work, Worst};

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use LatentFormat::{F16, F32, Fp8};
    use Slots::{Dense, Selected};
    let fma = |c, r, heads, format, slots| MlaPrefill { c, r, format, slots, tiles: Tiles::Fma { heads } };
    let mut setups = vec![
        (fma(16, 8, 4, F32, Dense), [5, 3, 90, 90], &[1_u32, 2, 64, 65, 90][..]),
        (fma(16, 8, 4, F16, Selected), [3, 2, 70, 200], &[70, 0, 3]),
        (fma(64, 24, 8, F16, Dense), [2, 8, 200, 200], &[200, 130]),
        (fma(32, 16, 4, F32, Selected), [3, 5, 70, 200], &[70, 65, 3]),
    ];
    for format in [F32, F16, Fp8] {
        setups.push((fma(512, 64, 16, format, Selected), [4, 16, 100, 300], &[100, 0, 1, 70]));
        setups.push((fma(512, 64, 16, format, Dense), [3, 20, 200, 200], &[200, 1, 97]));
    }
    for spec in coop_specs(device) {
        let MlaDecode { c, r, format, slots, tiles } = spec;
        // With tiles of 32 heads, the last one is half empty.
        let spec = MlaPrefill { c, r, format, slots, tiles };
        match slots {
            Selected => setups.push((spec, [3, 48, 100, 300], &[100, 0, 65])),
            Dense => setups.push((spec, [3, 16, 200, 200], &[200, 1, 97])),
        }
    }
    let mut found = Vec::new();
    for (spec, [t, h, n_slots, context], filled) in setups {
        let MlaPrefill { c, r, format, slots, .. } = spec;
        let setup = Setup { c, r, format, slots, t, h, n_slots, context, spread: 2.0, growth: 0.0, filled, own_tables: false };
        found.push(case(spec, &setup, device)?);
    }
    // A block table of each query's own.
    for slots in [Selected, Dense] {
        let spec = MlaPrefill::best(512, 64, 16, F16, slots, device);
        let filled = &[100, 65, 1, 98];
        let setup = Setup {
            c: 512,
            r: 64,
            format: F16,
            slots,
            t: 4,
            h: 16,
            n_slots: 100,
            context: 200,
            spread: 2.0,
            growth: 0.0,
            filled,
            own_tables: true,
        };
        found.push(case(spec, &setup, device)?);
    }
    // Scores that grow along the slots: the running maximum must rise in every step.
    for (spec, setup) in growing(device) {
        found.push(case(spec, &setup, device)?);
    }
    Ok(found)
}

fn growing(device: &Capabilities) -> Vec<(MlaPrefill, Setup)> {
    let (c, r, slots) = (512, 64, Slots::Dense);
    let tiles = Tiles::Fma { heads: 16 };
    let fma = [LatentFormat::F32, LatentFormat::F16, LatentFormat::Fp8].map(|format| MlaPrefill { c, r, format, slots, tiles });
    let coop = coop_specs(device).into_iter().filter(|spec| spec.slots == slots);
    let coop = coop.map(|MlaDecode { format, tiles, .. }| MlaPrefill { c, r, format, slots, tiles });
    let setup = |spec: MlaPrefill| {
        let (format, filled) = (spec.format, &[256, 140][..]);
        (
            spec,
            Setup {
                c,
                r,
                format,
                slots,
                t: 2,
                h: 16,
                n_slots: 256,
                context: 256,
                spread: 1.0,
                growth: 60.0,
                filled,
                own_tables: false,
            },
        )
    };
    fma.into_iter().chain(coop).map(setup).collect()
}

/// The self-test: what is chosen for caches of every format, selected and dense.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for format in [LatentFormat::F32, LatentFormat::F16, LatentFormat::Fp8] {
        for slots in [Slots::Selected, Slots::Dense] {
            let spec = MlaPrefill::best(512, 64, 16, format, slots, device);
            let (c, r, filled, own_tables) = (spec.c, spec.r, &[70, 65, 1][..], false);
            let [t, h, n_slots, context] = [3, 16, 70, 100];
            let setup = Setup { c, r, format, slots, t, h, n_slots, context, spread: 2.0, growth: 0.0, filled, own_tables };
            found.push(case(spec, &setup, device)?);
        }
    }
    Ok(found)
}

/// The benchmark cases that `device` offers: 2048 selected rows of 65,536 with 128 heads, and short dense contexts with 16.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for (slots, format, [t, h, n_slots, context], filled) in [
        (Slots::Selected, LatentFormat::F16, [256, 128, 2048, 65_536], &[2048_u32][..]),
        (Slots::Selected, LatentFormat::Fp8, [256, 128, 2048, 65_536], &[2048]),
        (Slots::Dense, LatentFormat::F16, [256, 16, 2048, 2048], &[2048]),
    ] {
        if u64::from(context) * 1152 > device.limits.max_binding_bytes {
            continue;
        }
        let spec = MlaPrefill::best(512, 64, h, format, slots, device);
        let setup =
            Setup { c: 512, r: 64, format, slots, t, h, n_slots, context, spread: 2.0, growth: 0.0, filled, own_tables: false };
        found.push(bench(spec, &setup, device)?);
    }
    Ok(found)
}

/// The case with a verdict.
fn with(spec: MlaPrefill, setup: &Setup, inputs: &Inputs, check: Check, device: &Capabilities) -> Result<Case, KernelError> {
    let Setup { t, h, n_slots, .. } = *setup;
    let (q_stride, u_stride) = (setup.q_stride(), setup.u_stride());
    let (q_offset, u_offset, scale) = (Q_OFFSET, U_OFFSET, SCALE);
    let launch = spec.launch(
        &Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, table_stride: inputs.table_stride, scale },
        device,
    )?;
    let slots_in_all = setup.slots_in_all(inputs);
    let outputs = f64::from(t * h) * f64::from(2 * spec.c + spec.r);
    Ok(Case {
        name: format!(
            "{} T={t} H={h} K={n_slots} growth={}{}",
            launch.program.name,
            setup.growth,
            if setup.own_tables { " own tables" } else { "" }
        ),
        buffers: vec![
            Init::f32s(&inputs.q),
            Init::Bytes(inputs.cache.clone()),
            Init::u32s(&inputs.block_table),
            setup.slots_init(inputs),
            Init::Zeros(4 * setup.u_len()),
        ],
        steps: vec![Step { launch, buffers: vec![0, 1, 2, 3, 4] }],
        reads: vec![4],
        work: Work {
            bytes: slots_in_all * f64::from(spec.format.row_bytes(spec.c, spec.r)) + 4.0 * outputs,
            flops: 2.0 * slots_in_all * f64::from(h * (2 * spec.c + spec.r)),
        },
        check,
    })
}

fn case(spec: MlaPrefill, setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let inputs = setup.inputs();
    let check = setup.check(&inputs, 4, spec.tiles.tolerance(setup.spread, setup.growth));
    with(spec, setup, &inputs, check, device)
}

fn bench(spec: MlaPrefill, setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let inputs = setup.inputs();
    let case = with(spec, setup, &inputs, Box::new(|_| Ok(Worst(0.0))), device)?;
    Ok(Case { check: setup.check_ends(inputs, 4, spec.tiles.tolerance(setup.spread, setup.growth)), ..case })
}
