//! Every program of every suite against naga: it parses, it validates, and it binds what its spec says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use super::{Access, Capabilities, Dialect, Features, Launch, Limits, SubgroupSizes, f16_bits, f16_value};
use crate::suites::SUITES;
use naga::valid::{Capabilities as Naga, ValidationFlags, Validator};
use std::collections::BTreeMap;

/// An adapter that offers everything, with the limits of a large one.
fn everything() -> Capabilities {
    let limits = Limits {
        max_storage_buffers: 16,
        max_binding_bytes: (2 << 30) - 4,
        max_workgroup_bytes: 48 << 10,
        max_invocations: 1024,
        max_workgroups_per_dimension: 65_535,
    };
    let features = Features { subgroups: true, f16: true, dp4a: true, coopmat: true };
    Capabilities { features, limits, subgroup: SubgroupSizes { min: 32, max: 32 } }
}

/// One launch of each program that some tier uses.
fn launches() -> BTreeMap<String, Launch> {
    let mut found = BTreeMap::new();
    for (tier, features) in Features::TIERS {
        let device = everything().limited_to(features);
        for suite in SUITES {
            let cases = (suite.cases)(&device).unwrap_or_else(|error| panic!("{} in tier {tier}: {error}", suite.kernel));
            assert!(!cases.is_empty(), "{} has no case in tier {tier}", suite.kernel);
            for step in cases.into_iter().flat_map(|case| case.steps) {
                assert_eq!(step.buffers.len(), step.launch.program.bindings.len(), "{}", step.launch.program.name);
                found.insert(step.launch.program.name.clone(), step.launch);
            }
        }
    }
    found
}

fn parse(launch: &Launch, dialect: Dialect) -> naga::Module {
    let source = launch.program.source(dialect);
    let name = &launch.program.name;
    naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)))
}

#[test]
fn every_program_validates() {
    for (name, launch) in launches() {
        for dialect in [Dialect::Native, Dialect::Pooled] {
            let module = parse(&launch, dialect);
            let mut validator = Validator::new(ValidationFlags::all(), Naga::all());
            if let Err(error) = validator.validate(&module) {
                panic!("{name}: {}", error.emit_to_string(&launch.program.source(dialect)));
            }
            let entry = &module.entry_points[0];
            assert_eq!((entry.name.as_str(), module.entry_points.len()), ("main", 1), "{name}");
            assert_eq!(entry.workgroup_size, launch.program.workgroup, "{name}: workgroup size");
        }
    }
}

#[test]
fn in_a_browser_every_variable_has_a_value() {
    for (name, launch) in launches() {
        // naga calls subgroups a capability and knows no such directive.
        let source = launch.program.source(Dialect::Browser).replace("enable subgroups;\n", "");
        naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
        let bare = source.lines().find(|line| line.trim_start().starts_with("var ") && !line.contains('='));
        assert_eq!(bare, None, "{name}: Chromium would zero it once only");
    }
}

#[test]
fn every_spec_lists_the_bindings_of_its_program() {
    for (name, launch) in launches() {
        let module = parse(&launch, Dialect::Native);
        let mut found = BTreeMap::new();
        for (_, variable) in module.global_variables.iter() {
            if let (Some(binding), naga::AddressSpace::Storage { access }) = (variable.binding, variable.space) {
                assert_eq!(binding.group, 0, "{name}");
                let writes = access.contains(naga::StorageAccess::STORE);
                found.insert(binding.binding, (variable.name.clone().unwrap(), writes, variable.ty));
            }
        }
        let listed = &launch.program.bindings;
        assert_eq!(found.len(), listed.len() + usize::from(!launch.params.is_empty()), "{name}: number of bindings");
        for (i, binding) in listed.iter().enumerate() {
            let (variable, writes, _) = &found[&(i as u32)];
            assert_eq!((variable.as_str(), *writes), (binding.name, binding.access == Access::Write), "{name}: binding {i}");
        }
        if let Some((params, writes, ty)) = found.get(&(listed.len() as u32)) {
            assert_eq!((params.as_str(), *writes), ("params", false), "{name}: the binding after the last one");
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).unwrap();
            assert_eq!(layouter[*ty].size as usize, launch.params.len(), "{name}: bytes of Params");
        }
    }
}

#[test]
fn every_spec_states_its_workgroup_memory() {
    for (name, launch) in launches() {
        let module = parse(&launch, Dialect::Native);
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let shared = module.global_variables.iter().filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, variable)| layouter[variable.ty].size).sum();
        assert_eq!(bytes, launch.program.workgroup_bytes, "{name}: bytes of workgroup memory");
    }
}

#[test]
fn every_binding_states_its_shape() {
    for (name, launch) in launches() {
        for line in launch.program.body.lines().filter(|line| line.starts_with("@group(0)") && !line.contains("> params:")) {
            let comment = line.split_once("; // (").map(|(_, comment)| comment);
            assert!(comment.is_some_and(|text| text.contains(')')), "{name}: no `// (shape) dtype` after `{line}`");
        }
    }
}

#[test]
fn every_program_fits_the_base_tier_when_it_needs_no_feature() {
    for (name, launch) in launches() {
        if launch.program.features == Features::BASE {
            launch.program.check(&Capabilities::base()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn halves_round_to_nearest_even() {
    let pairs = [
        (0.0, 0x0000),
        (-0.0, 0x8000),
        (1.0, 0x3C00),
        (-2.5, 0xC100),
        (65504.0, 0x7BFF),
        (65519.9, 0x7BFF),
        (65520.0, 0x7C00),
        (f32::INFINITY, 0x7C00),
        (2.0_f32.powi(-24), 0x0001),
        (2.0_f32.powi(-25), 0x0000),
        (1.5 * 2.0_f32.powi(-24), 0x0002),
        (1.0 + 2.0_f32.powi(-11), 0x3C00),
        (1.0 + 3.0 * 2.0_f32.powi(-11), 0x3C02),
    ];
    for (value, bits) in pairs {
        assert_eq!(f16_bits(value), bits, "{value}");
    }
    for bits in 0..=u16::MAX {
        let value = f16_value(bits);
        if !value.is_nan() {
            assert_eq!(f16_bits(value), bits, "{bits:#06x}");
        }
    }
    assert!(f16_value(f16_bits(f32::NAN)).is_nan());
}

#[test]
fn features_are_read_as_they_are_written() {
    for (_, features) in Features::TIERS {
        assert_eq!(features.to_string().parse(), Ok(features));
    }
    assert_eq!("dp4a".parse(), Ok(Features::DP4A));
    assert!("f16+avx".parse::<Features>().unwrap_err().contains("`avx` is no feature"));
}

#[test]
fn cooperative_matrices_go_with_what_they_are_made_of() {
    let all = Features::TIERS[4].1;
    assert_eq!(all.without(Features::SUBGROUPS), Features { f16: true, dp4a: true, ..Features::BASE });
    assert_eq!(all.without(Features::DP4A), Features::COOPMAT);
    assert_eq!(all.single().fold(Features::BASE, Features::union), all);
    assert_eq!(Features::SUBGROUPS.single().collect::<Vec<_>>(), [Features::SUBGROUPS]);
    let device = Capabilities { features: all, subgroup: SubgroupSizes { min: 32, max: 32 }, ..Capabilities::base() };
    assert_eq!(device.without(Features::SUBGROUPS).subgroup, SubgroupSizes { min: 1, max: 1 });
    assert_eq!(device.without(Features::F16).subgroup, device.subgroup);
}
