//! The suite and the benchmarks of the kernel, as data.

use super::{LatentFormat, MlaDecode, Sizes, Slots, Tiles};
use crate::attention::inputs::{self, Inputs, Q_OFFSET, SCALE, U_OFFSET};
use crate::kernel::{Capabilities, Case, Check, Init, KernelError, Step, Work};

/// A permutation with what it attends to.
struct Setup {
    spec: MlaDecode,
    n_splits: u32,
    inputs: inputs::Setup,
}

/// The correctness cases that `device` offers.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn cases(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    use LatentFormat::{F16, F32, Fp8};
    use Slots::{Dense, Selected};
    let fma = |c, r, heads, format, slots| MlaDecode { c, r, format, slots, tiles: Tiles::Fma { heads } };
    let mut setups = vec![
        setup(fma(32, 16, 4, F32, Selected), [3, 2, 70, 200], 2, &[70, 65, 3]),
        setup(fma(64, 24, 8, F16, Dense), [2, 8, 200, 200], 3, &[200, 130]),
        setup(fma(40, 8, 4, F32, Dense), [1, 3, 64, 64], 1, &[64]),
        setup(fma(64, 32, 8, F32, Dense), [1, 5, 64, 64], 2, &[1]),
        // More splits than steps, and a head's columns combined by several workgroups.
        setup(fma(128, 8, 4, F32, Dense), [2, 3, 2048, 2048], 20, &[2048, 700]),
    ];
    let mut specs: Vec<_> =
        [F32, F16, Fp8].into_iter().flat_map(|f| [fma(512, 64, 16, f, Selected), fma(512, 64, 16, f, Dense)]).collect();
    specs.extend(coop_specs(device));
    for spec in specs {
        let heads = if spec.heads() == 32 { 40 } else { 16 };
        match spec.slots {
            Selected => {
                setups.push(setup(spec, [4, heads, 100, 300], 3, &[100, 0, 1, 70]));
                setups.push(own_tables(setup(spec, [3, 16, 70, 300], 2, &[70, 66, 0])));
                setups.push(setup(spec, [1, 16, 64, 64], 1, &[64]));
            }
            Dense => {
                setups.push(setup(spec, [3, heads, 200, 200], 2, &[200, 1, 97]));
                setups.push(own_tables(setup(spec, [3, 16, 200, 200], 2, &[200, 65, 130])));
            }
        }
        // Scores that grow along one split: the running maximum must rise in every step.
        setups.push(growing(setup(spec, [1, 16, 256, 256], 1, &[256])));
    }
    setups.extend(coop_specs(device).into_iter().filter(|spec| spec.heads() == 16).flat_map(|spec| steps(spec, device)));
    setups.iter().map(|setup| case(setup, device)).collect()
}

/// The cases of the forms of `spec` that take one step for each workgroup.
fn steps(spec: MlaDecode, device: &Capabilities) -> Vec<Setup> {
    let mut setups = Vec::new();
    for (rows, subgroups) in [(16, 4), (16, 8), (32, 8), (32, 16)] {
        let lanes = device.subgroup.max;
        let spec = MlaDecode { tiles: Tiles::Step { rows, subgroups, lanes }, ..spec };
        if subgroups * lanes > device.limits.max_invocations {
            continue;
        }
        let mut push =
            |shape: [u32; 4], filled| setups.push(setup(spec, shape, spec.splits(shape[0], shape[1], shape[2]), filled));
        match spec.slots {
            // Steps that are short, empty, and for more heads than a workgroup has.
            Slots::Selected => push([4, 24, 100, 300], &[100, 0, 1, 70]),
            Slots::Dense => push([3, 16, 200, 200], &[200, 1, 97]),
        }
        setups.push(own_tables(setup(spec, [2, 16, 96, 200], spec.splits(2, 16, 96), &[96, 70])));
        setups.push(growing(setup(spec, [1, 5, 256, 256], spec.splits(1, 5, 256), &[256])));
    }
    setups
}

/// The permutations with cooperative matrices that `device` offers.
pub(crate) fn coop_specs(device: &Capabilities) -> Vec<MlaDecode> {
    let lanes = device.subgroup.max;
    let mut specs = Vec::new();
    if !device.features.coopmat || device.subgroup.min != lanes {
        return specs;
    }
    for (format, slots) in [
        (LatentFormat::F16, Slots::Selected),
        (LatentFormat::F16, Slots::Dense),
        (LatentFormat::Fp8, Slots::Selected),
        (LatentFormat::Fp8, Slots::Dense),
    ] {
        for head_tiles in [1, 2] {
            let spec = MlaDecode { c: 512, r: 64, format, slots, tiles: Tiles::Coop { head_tiles, lanes } };
            if spec.workgroup_bytes() <= device.limits.max_workgroup_bytes {
                specs.push(spec);
            }
        }
    }
    specs
}

/// The self-test: what is chosen for caches of every format, selected and dense.
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn quick(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut setups = Vec::new();
    for format in [LatentFormat::F32, LatentFormat::F16, LatentFormat::Fp8] {
        let spec = |slots| MlaDecode::best(512, 64, 16, format, slots, device);
        setups.push(setup(spec(Slots::Selected), [2, 16, 70, 200], 2, &[70, 65]));
        setups.push(setup(spec(Slots::Dense), [1, 16, 130, 130], 2, &[130]));
        let step = spec(Slots::Selected).in_one_step(2, 16, 70, device);
        if step != spec(Slots::Selected) {
            setups.push(setup(step, [2, 16, 70, 200], step.splits(2, 16, 70), &[70, 65]));
        }
    }
    setups.iter().map(|setup| case(setup, device)).collect()
}

/// The benchmark cases that `device` offers: the shapes of V3.2 (128 heads) and of V2-Lite (16).
///
/// # Errors
/// A launch that a case asks for is refused.
pub fn benches(device: &Capabilities) -> Result<Vec<Case>, KernelError> {
    let mut found = Vec::new();
    for (t, h, format) in [
        (1, 128, LatentFormat::F16),
        (16, 128, LatentFormat::F16),
        (1, 128, LatentFormat::Fp8),
        (16, 128, LatentFormat::Fp8),
        (1, 16, LatentFormat::F16),
    ] {
        let spec = MlaDecode::best(512, 64, h, format, Slots::Selected, device);
        let step = spec.in_one_step(t, h, 2048, device);
        if step != spec {
            found.push(bench(&setup(step, [t, h, 2048, 16_384], step.splits(t, h, 2048), &[2048]), device)?);
        }
        for n_splits in splits_to_try(spec, t, h, 2048) {
            let filled: &[u32] = &[2048];
            found.push(bench(&setup(spec, [t, h, 2048, 16_384], n_splits, filled), device)?);
        }
    }
    for (h, context, filled) in
        [(128, 4096, &[4096_u32]), (128, 16_384, &[16_384]), (128, 131_072, &[131_072]), (16, 16_384, &[16_384])]
    {
        if u64::from(context) * 1152 > device.limits.max_binding_bytes {
            continue;
        }
        let spec = MlaDecode::best(512, 64, h, LatentFormat::F16, Slots::Dense, device);
        for n_splits in splits_to_try(spec, 1, h, context) {
            found.push(bench(&setup(spec, [1, h, context, context], n_splits, filled), device)?);
        }
    }
    Ok(found)
}

/// The splits that the kernel chooses, half and twice as many.
fn splits_to_try(spec: MlaDecode, t: u32, h: u32, n_slots: u32) -> Vec<u32> {
    let chosen = spec.splits(t, h, n_slots);
    vec![chosen, (chosen / 2).max(1)]
}

fn setup(spec: MlaDecode, [t, h, n_slots, context]: [u32; 4], n_splits: u32, filled: &'static [u32]) -> Setup {
    let MlaDecode { c, r, format, slots, .. } = spec;
    let inputs =
        inputs::Setup { c, r, format, slots, t, h, n_slots, context, spread: 2.0, growth: 0.0, filled, own_tables: false };
    Setup { spec, n_splits, inputs }
}

/// The same with a block table of each query's own.
fn own_tables(setup: Setup) -> Setup {
    Setup { inputs: inputs::Setup { own_tables: true, ..setup.inputs }, ..setup }
}

/// The same with scores that grow along the positions.
fn growing(setup: Setup) -> Setup {
    Setup { inputs: inputs::Setup { growth: 60.0, spread: 1.0, ..setup.inputs }, ..setup }
}

impl Setup {
    fn sizes(&self, table_stride: u32) -> Sizes {
        let inputs::Setup { t, h, n_slots, .. } = self.inputs;
        let (q_stride, u_stride) = (self.inputs.q_stride(), self.inputs.u_stride());
        let (q_offset, u_offset, n_splits, scale) = (Q_OFFSET, U_OFFSET, self.n_splits, SCALE);
        Sizes { t, h, q_stride, q_offset, u_stride, u_offset, n_slots, n_splits, table_stride, scale }
    }

    fn tolerance(&self) -> f64 {
        self.spec.tiles.tolerance(self.inputs.spread, self.inputs.growth)
    }

    /// The case with a verdict.
    fn with(&self, inputs: &Inputs, check: Check, device: &Capabilities) -> Result<Case, KernelError> {
        let (spec, sizes) = (self.spec, self.sizes(inputs.table_stride));
        let [partial, combine] = spec.launch(&sizes, device)?;
        let Sizes { t, h, n_slots, n_splits, .. } = sizes;
        let own = if self.inputs.own_tables { " own tables" } else { "" };
        let name =
            format!("{} T={t} H={h} K={n_slots} splits={n_splits} growth={}{own}", partial.program.name, self.inputs.growth);
        // Garbage in the scratch buffers: what was not written must not count.
        let garbage = |n| Init::Bytes(vec![0xFF; 4 * n]);
        let slots_in_all = self.inputs.slots_in_all(inputs);
        let outputs = f64::from(t * h * (2 * spec.c + spec.r));
        Ok(Case {
            name,
            buffers: vec![
                Init::f32s(&inputs.q),
                Init::Bytes(inputs.cache.clone()),
                Init::u32s(&inputs.block_table),
                self.inputs.slots_init(inputs),
                garbage(spec.partials_len(&sizes)),
                garbage(spec.stats_len(&sizes)),
                Init::Zeros(4 * self.inputs.u_len()),
            ],
            steps: vec![
                Step { launch: partial, buffers: vec![0, 1, 2, 3, 4, 5] },
                Step { launch: combine, buffers: vec![4, 5, 6] },
            ],
            reads: vec![6],
            work: Work {
                bytes: slots_in_all * f64::from(spec.format.row_bytes(spec.c, spec.r)) + 4.0 * outputs,
                flops: 2.0 * slots_in_all * f64::from(h * (2 * spec.c + spec.r)),
            },
            check,
        })
    }
}

fn case(setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let inputs = setup.inputs.inputs();
    let check = setup.inputs.check(&inputs, 6, setup.tolerance());
    setup.with(&inputs, check, device)
}

fn bench(setup: &Setup, device: &Capabilities) -> Result<Case, KernelError> {
    let inputs = setup.inputs.inputs();
    let case = setup.with(&inputs, Box::new(|_| Ok(crate::kernel::Worst(0.0))), device)?;
    Ok(Case { check: setup.inputs.check_ends(inputs, 6, setup.tolerance()), ..case })
}
