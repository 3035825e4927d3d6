//! Every reference checkpoint on every device, in one prefill, in chunks, and token by token.

use std::path::Path;

use sferic_engine::{DeviceChoice, Engine, EngineOptions, Golden, VerifyOptions};
use sferic_testkit::{device, fixture};

/// Runs one checkpoint in every way of feeding the prompt and reports all misses at once.
fn check(name: &str, folder: &Path, choice: DeviceChoice) {
    let golden = Golden::open(folder).unwrap();
    let n_tokens = golden.input_ids.len();
    let options =
        EngineOptions { device: choice.clone(), max_context: Some(n_tokens + golden.next_ids.len()), ..EngineOptions::default() };
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
                println!("{name:24} {choice:4} {feed:24} max |Δlogit| {}", row.found);
            }
            if !row.passed {
                misses.push(format!("{feed}: {} {} found {}, allowed {}", row.check, row.measure, row.found, row.bound));
            }
        }
    }
    assert!(misses.is_empty(), "{name} on {choice}:\n{}", misses.join("\n"));
}

fn check_on_cpu(name: &str) {
    if let Some(folder) = fixture::golden(name) {
        check(name, &folder, DeviceChoice::Cpu);
    }
}

fn check_on_gpu(name: &str) {
    if let (Some(folder), Some(_)) = (fixture::golden(name), device::gpu()) {
        check(name, &folder, DeviceChoice::Gpu(None));
    }
}

/// Two tests for each checkpoint.
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
                super::check_on_gpu($name);
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
