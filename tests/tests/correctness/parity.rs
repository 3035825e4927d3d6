//! Every reference checkpoint on every device, in one prefill, in chunks, and token by token.

use std::path::Path;

use sferic_engine::{ComputePath, DeviceChoice, Engine, EngineOptions, Golden, VerifyOptions, WeightPrecision};
use sferic_testkit::{device, fixture};

/// Runs one checkpoint in every way of feeding the prompt and reports all misses at once.
fn check(name: &str, folder: &Path, options: EngineOptions) {
    let golden = Golden::open(folder).unwrap();
    let n_tokens = golden.input_ids.len();
    let what = format!(
        "{} {} {}",
        options.device,
        if options.path == ComputePath::Kernels { "kernels" } else { "reference" },
        options.weights
    );
    let options = EngineOptions { max_context: Some(n_tokens + golden.next_ids.len()), ..options };
    let engine = pollster::block_on(Engine::open(folder, options)).unwrap();
    let feeds = [
        ("one prefill", VerifyOptions { chunk: Some(n_tokens), decode_from: None }),
        ("chunks of 7", VerifyOptions { chunk: Some(7), decode_from: None }),
        ("chunks of 64", VerifyOptions { chunk: Some(64), decode_from: None }),
        ("decode from 1", VerifyOptions { chunk: None, decode_from: Some(1) }),
        ("decode from the middle", VerifyOptions { chunk: None, decode_from: Some(n_tokens / 2) }),
    ];
    let mut misses = Vec::new();
    for (feed, options) in feeds {
        let verification = pollster::block_on(engine.verify(&golden, options)).unwrap();
        let n_expected = 2 + golden.hidden.len() + golden.topk.len();
        assert_eq!(
            verification.rows.len(),
            n_expected,
            "{name}: logits, continuation, hidden states and selections are compared"
        );
        for row in verification.rows {
            if row.check == "logits" {
                println!("{name:24} {what:24} {feed:24} {} {}", row.measure, row.found);
            }
            if !row.passed {
                misses.push(format!("{feed}: {} {} found {}, allowed {}", row.check, row.measure, row.found, row.bound));
            }
        }
    }
    assert!(misses.is_empty(), "{name} on {what}:\n{}", misses.join("\n"));
}

fn check_on_cpu(name: &str) {
    if let Some(folder) = fixture::golden(name) {
        check(name, &folder, EngineOptions { device: DeviceChoice::Cpu, ..EngineOptions::default() });
    }
}

fn check_on_gpu(name: &str, path: ComputePath, weights: WeightPrecision) {
    if let (Some(folder), Some(_)) = (fixture::golden(name), device::gpu()) {
        let device = DeviceChoice::Gpu(None);
        check(name, &folder, EngineOptions { device, path, weights, ..EngineOptions::default() });
    }
}

/// Three tests for each checkpoint.
macro_rules! parity {
    ($($module:ident: $name:literal,)*) => {
        /// Every checkpoint that exists anywhere has its tests.
        const TESTED: &[&str] = &[$($name),*];
        $(mod $module {
            #[test]
            fn cpu() {
                super::check_on_cpu($name);
            }

            #[test]
            fn gpu() {
                super::check_on_gpu($name, super::ComputePath::Reference, super::WeightPrecision::Stored);
            }

            #[test]
            fn kernels() {
                super::check_on_gpu($name, super::ComputePath::Kernels, super::WeightPrecision::F32);
            }
        })*
    };
}

parity! {
    deepseek_v32_tiny: "deepseek_v32-tiny",
    deepseek_v32_yarn: "deepseek_v32-yarn",
    deepseek_v32_realdims: "deepseek_v32-realdims",
    deepseek_v32_fp8: "deepseek_v32-fp8",
    deepseek_v3_tiny: "deepseek_v3-tiny",
    deepseek_v2_lite: "deepseek_v2-lite",
    glm_moe_dsa_tiny: "glm_moe_dsa-tiny",
    glm4_moe_lite_tiny: "glm4_moe_lite-tiny",
    youtu_tiny: "youtu-tiny",
    minicpm3_tiny: "minicpm3-tiny",
}

#[test]
fn every_checkpoint_has_its_tests() {
    assert_eq!(TESTED, fixture::GOLDENS);
    assert!(!fixture::goldens().is_empty());
}
