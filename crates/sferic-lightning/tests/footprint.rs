//! What is planned is what is allocated.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use sferic_lightning::architecture::{Architecture, LayerKind, Selection};
use sferic_lightning::{CacheFormats, Device, Footprint, Formats, Model, ModelWeights, Settings, WeightFormat, workspace_bytes};

/// DeepSeek-V2-Lite with an indexer, small enough for the least adapter.
fn small() -> Architecture {
    let mut a = Architecture::v2_lite_with_indexer();
    a.layers.truncate(3);
    a.layers[1] = LayerKind { selection: Selection::Shared, is_moe: false };
    (a.vocab, a.d_model, a.d_feed_forward) = (1000, 256, 320);
    if let Some(experts) = &mut a.experts {
        (experts.n_routed, experts.width, experts.has_bias) = (8, 96, true);
    }
    a
}

#[test]
fn what_is_planned_is_what_is_allocated() {
    let device = match pollster::block_on(Device::open(&Default::default())) {
        Ok(device) => device,
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    for (format, caches) in
        [(WeightFormat::F32, CacheFormats::F32), (WeightFormat::Bf16, CacheFormats::F16), (WeightFormat::Q4, CacheFormats::FP8)]
    {
        for (q_rank, tied) in [(None, false), (Some(64), true)] {
            let a = Architecture { q_rank, tied, ..small() };
            let formats = Formats::new(format);
            let footprint = Footprint::new(&a, formats, caches);
            let weights = ModelWeights::random(&device, &a, formats).unwrap();
            assert_eq!(footprint.weights, weights.bytes, "{format:?}");
            let (context, chunk) = (3000, 96);
            let settings = Settings { caches, hadamard: false, context, chunk, cached_tokens: 1024 };
            let model = Model::new(device.clone(), a.clone(), weights, settings).unwrap();
            let [_, cached, workspace] = model.bytes();
            // A layer that shares a selection has a word of index cache, so that there is something to bind.
            let words = 4 * a.layers.iter().filter(|layer| layer.selection != Selection::Own).count() as u64;
            assert_eq!(1024 * footprint.cache_per_token + words, cached, "{caches:?}");
            let planned = workspace_bytes(&a, caches, context, chunk, device.largest_buffer());
            let share = planned as f64 / workspace as f64;
            assert!((0.95..1.05).contains(&share), "{planned} bytes of workspace planned, {workspace} allocated");
        }
    }
}
