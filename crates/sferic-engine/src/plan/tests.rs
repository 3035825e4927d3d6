#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::device::{DeviceClass, DeviceLimits};
use crate::testing::{config, dense_config};
use proptest::prelude::*;

fn device(memory_bytes: Option<u64>, binding_bytes: Option<u64>) -> DeviceInfo {
    DeviceInfo {
        gpu_index: None,
        name: "test".into(),
        class: DeviceClass::Cpu,
        api: "native".into(),
        driver: String::new(),
        memory_bytes,
        limits: binding_bytes.map(|binding_bytes| DeviceLimits {
            buffer_bytes: 2 * binding_bytes,
            binding_bytes,
            workgroup_memory_bytes: 16384,
            workgroup_invocations: 256,
            subgroup_min: 8,
            subgroup_max: 32,
            has_f16: false,
        }),
    }
}

#[test]
fn weights_and_caches_are_counted_exactly() {
    let config = config();
    let plan = MemoryPlan::new(&config, &device(None, None), Some(100), None);
    assert_eq!(plan.weight_bytes, 4 * config.n_parameters());
    assert_eq!(plan.cache_bytes_per_token, config.cache_bytes_per_token() as u64);
    // Two layers of latent and rope (16 + 8) and an index key of 16 values in f32.
    assert_eq!(plan.cache_bytes_per_token, 2 * (16 + 8 + 16) * 4);
    assert_eq!(plan.cache_bytes, 100 * plan.cache_bytes_per_token);
    assert!(plan.total_bytes >= plan.weight_bytes + plan.cache_bytes + plan.workspace_bytes);
    plan.check().unwrap();
}

#[test]
fn without_limits_the_context_is_the_models() {
    let plan = MemoryPlan::new(&config(), &device(None, None), None, None);
    assert_eq!(plan.context, config().max_position_embeddings);
    assert_eq!(plan.max_context_that_fits, Some(plan.context));
}

#[test]
fn little_memory_shortens_the_context_and_refuses_a_longer_one() {
    let config = config();
    let full = MemoryPlan::new(&config, &device(None, None), None, None);
    let short = MemoryPlan::new(&config, &device(None, None), Some(full.context / 2), None);
    let memory_bytes = (full.total_bytes + short.total_bytes) / 2 * 10 / 9;
    let planned = MemoryPlan::new(&config, &device(Some(memory_bytes), None), None, None);
    planned.check().unwrap();
    assert!(planned.context < full.context && planned.context >= full.context / 2, "{planned:?}");
    let refused = MemoryPlan::new(&config, &device(Some(memory_bytes), None), Some(full.context), None);
    let error = refused.check().unwrap_err();
    assert!(matches!(error, EngineError::DoesNotFit { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(&format!("a context of {} tokens fits", planned.context)), "{message}");
    assert!(message.contains(&refused.total_bytes.to_string()), "{message}");
}

#[test]
fn weights_that_do_not_fit_are_refused_at_any_context() {
    let plan = MemoryPlan::new(&config(), &device(Some(1000), None), None, None);
    assert_eq!(plan.max_context_that_fits, None);
    let message = plan.check().unwrap_err().to_string();
    assert!(message.contains("no context fits"), "{message}");
}

#[test]
fn a_tensor_beyond_the_binding_limit_is_named() {
    let plan = MemoryPlan::new(&config(), &device(None, Some(20_000)), None, None);
    let error = plan.check().unwrap_err();
    assert!(
        matches!(&error, EngineError::BindingTooLarge { tensor, limit_bytes: 20_000, .. } if tensor.starts_with("model.")),
        "{error:?}"
    );
}

#[test]
fn a_cache_beyond_the_binding_limit_shortens_the_context() {
    let mut config = config();
    config.max_position_embeddings = 1_000_000;
    let limit_bytes = 1 << 20;
    let plan = MemoryPlan::new(&config, &device(None, Some(limit_bytes)), None, None);
    assert_eq!(plan.context as u64, limit_bytes / ((16 + 8) * 4));
    let refused = MemoryPlan::new(&config, &device(None, Some(limit_bytes)), Some(plan.context + 1), None);
    let message = refused.check().unwrap_err().to_string();
    assert!(message.contains("latent cache") && message.contains(&format!("{} tokens fits", plan.context)), "{message}");
}

#[test]
fn a_context_outside_the_models_is_refused() {
    let model_context = config().max_position_embeddings;
    for found in [0, model_context + 1] {
        let error = MemoryPlan::new(&config(), &device(None, None), Some(found), None).check().unwrap_err();
        assert!(matches!(error, EngineError::ContextRange { .. }), "{error:?}");
        assert!(error.to_string().contains(&found.to_string()), "{error}");
    }
}

#[test]
fn an_asked_chunk_is_kept_within_the_context() {
    let chunk = |asked| MemoryPlan::new(&config(), &device(None, None), Some(50), Some(asked)).prefill_chunk;
    assert_eq!(chunk(7), 7);
    assert_eq!(chunk(1000), 50);
    assert_eq!(chunk(0), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tiles_stay_bounded(context in 1usize..200_000, index_topk in 1usize..4096, is_dense in any::<bool>()) {
        let mut config = if is_dense { dense_config() } else { config() };
        config.max_position_embeddings = 200_000;
        config.num_attention_heads = 128;
        if let Some(indexer) = &mut config.indexer {
            indexer.index_topk = index_topk;
            indexer.index_n_heads = 64;
        }
        let plan = MemoryPlan::new(&config, &device(None, None), Some(context), None);
        prop_assert!((1..=MAX_PREFILL_CHUNK.min(context)).contains(&plan.prefill_chunk));
        let n_tokens = plan.prefill_chunk as u64;
        let largest = match &config.indexer {
            Some(indexer) => {
                let gathered = n_tokens * index_topk.min(context) as u64 * (16 + 8) * 4;
                gathered.max(n_tokens * indexer.index_n_heads as u64 * context as u64 * 4)
            }
            None => n_tokens * 128 * context as u64 * 4,
        };
        prop_assert!(largest <= TILE_BYTES || n_tokens == 1, "{} bytes", largest);
        prop_assert!(plan.workspace_bytes >= largest);
    }

    #[test]
    fn what_is_said_to_fit_fits_and_one_token_more_does_not(memory_bytes in 1u64..4_000_000) {
        let config = config();
        let plan = MemoryPlan::new(&config, &device(Some(memory_bytes), None), None, None);
        match plan.max_context_that_fits {
            Some(n_tokens) => {
                let at = |context| MemoryPlan::new(&config, &device(Some(memory_bytes), None), Some(context), None);
                prop_assert!(at(n_tokens).check().is_ok());
                prop_assert!(at(n_tokens + 1).check().is_err());
            }
            None => prop_assert!(plan.check().is_err()),
        }
    }
}
