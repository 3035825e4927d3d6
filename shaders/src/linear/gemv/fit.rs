//! Which permutation suits which sizes, as measured on an H100.

use super::{Arithmetic, Form, Gemv, MAX_TOKENS, Params};
use crate::kernel::{Capabilities, Limits, WeightFormat};

impl Gemv {
    /// Invocations that keep a large adapter busy: 16 subgroups of 32 on each of 132 multiprocessors.
    const BUSY: u64 = 132 * 16 * 32;
    /// Workgroup memory that is not worth exceeding, because several workgroups are to share a multiprocessor.
    const WORKGROUP_BYTES: u32 = 36 << 10;
    /// Values of q4 from which on packing x pays for one row.
    const PACKED_VALUES: u64 = 8 << 20;

    /// The best permutation on `device` for these sizes, without `norm` and `accumulate`.
    ///
    /// Packed products pay where instructions are short: q4 weights of large matrices, and more than two rows.
    pub fn best(format: WeightFormat, params: &Params, device: &Capabilities) -> Self {
        let values = u64::from(params.z.max(1)) * u64::from(params.o) * u64::from(params.i);
        let packed = match format {
            WeightFormat::Q4 => params.t > 2 || (params.t == 1 && values >= Self::PACKED_VALUES),
            WeightFormat::Q8 => params.t > 2,
            _ => false,
        };
        let arithmetic = if packed && device.features.dp4a { Arithmetic::Packed } else { Arithmetic::Float };
        Self::fitted(format, arithmetic, params, device)
    }

    /// The permutation with `arithmetic` that suits these sizes.
    pub fn fitted(format: WeightFormat, arithmetic: Arithmetic, params: &Params, device: &Capabilities) -> Self {
        let tokens = params.t.next_power_of_two().clamp(1, MAX_TOKENS);
        let spec = Self {
            format,
            norm: false,
            accumulate: false,
            arithmetic,
            form: Form::Staged,
            words: 4,
            tokens,
            rows: (8 / tokens).min(4),
            lanes: 1,
            split: 8,
            steps: 1,
            wg_size: 128,
        };
        let lanes = device.subgroup.min.min(32);
        if !device.features.subgroups || lanes <= 1 {
            return spec.with_steps(params.i, &device.limits);
        }
        if arithmetic == Arithmetic::Float && tokens <= 2 {
            return spec.direct(params, lanes);
        }
        if format == WeightFormat::Q4 && tokens == 1 && lanes >= 4 {
            let wg_size = device.limits.max_invocations.min(384) / lanes * lanes;
            let resident =
                Self { form: Form::Resident, rows: 2, lanes, split: 1, wg_size, ..spec }.with_steps(params.i, &device.limits);
            if resident.loads(params.i) <= resident.steps * lanes {
                return resident;
            }
        }
        spec.staged(params, lanes, &device.limits)
    }

    /// x read where it lies. Where there are enough rows, as many of them share it as it takes to keep the reads of x rare; elsewhere small loads
    /// of weights bring more invocations to a row, whose reads of x are then neighbours.
    fn direct(self, params: &Params, lanes: u32) -> Self {
        let rows = (self.format.values_per_vector() / 4).clamp(2, 8) / self.tokens;
        let mut spec = Self { form: Form::Direct, rows, split: 1, wg_size: 128, ..self };
        let slices = spec.loads(params.i).next_power_of_two().min(4 * lanes);
        let outputs = u64::from(params.o) * u64::from(params.z.max(1));
        let mut split = 4;
        if outputs / u64::from(rows) * u64::from(slices) < Self::BUSY {
            // A workgroup for each row where there are fewer than two for each multiprocessor.
            spec.rows = if outputs < 2 * 132 { 1 } else { (2 / self.tokens).max(1) };
            spec.words = (32 / self.format.values_per_vector()).clamp(1, 4);
            spec.wg_size = 256.min(8 * lanes);
            split = 8;
        }
        let loads = spec.loads(params.i).max(1);
        spec.lanes = lanes.min(loads.next_power_of_two());
        while spec.split < split && spec.slices() < loads && 2 * spec.slices() <= spec.wg_size {
            spec.split *= 2;
        }
        // A short row is on its way as a whole.
        spec.steps = loads.div_ceil(spec.slices());
        if spec.steps > 4 || split == 4 {
            spec.steps = 1;
        }
        spec
    }

    /// x in parts through workgroup memory.
    fn staged(self, params: &Params, lanes: u32, limits: &Limits) -> Self {
        let vectors = self.loads(params.i).max(1);
        let mut spec = Self { lanes: lanes.min(vectors.next_power_of_two()), split: 1, wg_size: 256, rows: 4, ..self };
        // Few rows: fewer of them at a time, and then more invocations for each, until every multiprocessor has something to wait for.
        let invocations = |spec: &Self| u64::from(params.o) * u64::from(params.z.max(1)) * u64::from(spec.slices() / spec.rows);
        while spec.rows > 1 && invocations(&spec) < Self::BUSY {
            spec.rows /= 2;
        }
        let allowed = Self::allowed_bytes(limits);
        while spec.workgroup_bytes() > allowed && spec.lanes > 1 {
            spec.lanes /= 2;
        }
        loop {
            let wider = Self { split: spec.split * 2, ..spec };
            if wider.split > 8
                || wider.slices() > vectors
                || invocations(&spec) >= Self::BUSY
                || wider.workgroup_bytes() > allowed
            {
                break;
            }
            spec = wider;
        }
        spec.with_steps(params.i, limits)
    }

    /// The same with as many steps as workgroup memory allows and rows of `i` values need; where x is read directly they stay.
    #[must_use]
    pub fn with_steps(mut self, i: u32, limits: &Limits) -> Self {
        if self.form == Form::Direct {
            return self;
        }
        self.steps = self.loads(i).div_ceil(self.slices()).max(1);
        while self.steps > 1 && self.workgroup_bytes() > Self::allowed_bytes(limits) {
            self.steps = self.steps.div_ceil(2);
        }
        self
    }

    fn allowed_bytes(limits: &Limits) -> u32 {
        limits.max_workgroup_bytes.min(Self::WORKGROUP_BYTES)
    }
}
