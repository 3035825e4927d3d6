//! `sferic info`: what a model is and what it needs. A folder is not loaded for it.

use crate::cli::InfoArgs;
use crate::failure::ExitStatus;
use crate::output::{bytes, count, print, print_json, table};
use crate::{embedded, load};
use anyhow::Result;
use serde_json::{Value, json};
use sferic_engine::{Config, DeviceInfo, EngineError, IndexerType, MemoryPlan, Report};
use std::path::Path;

/// What is known about a model.
struct Facts {
    name: String,
    config: Config,
    weight_bytes_on_disk: u64,
    /// Counts by element type; only a folder is looked at that closely.
    report: Option<Report>,
    device: DeviceInfo,
    device_reason: String,
    plan: MemoryPlan,
    fits: Result<(), EngineError>,
    has_tokenizer: bool,
    warnings: Vec<String>,
}

/// Prints the facts; a model that does not fit is a fact and no error.
pub fn run(args: &InfoArgs) -> Result<ExitStatus> {
    let folder = args.model.clone().into_folder();
    let facts = match &folder {
        Some(folder) => folder_facts(folder, args)?,
        None => embedded_facts(args)?,
    };
    if args.json {
        print_json(&facts.to_json())?
    } else {
        print(&facts.to_table())?
    }
    Ok(ExitStatus::Done)
}

fn folder_facts(folder: &Path, args: &InfoArgs) -> Result<Facts> {
    let inspection = pollster::block_on(sferic_engine::inspect(folder, &args.engine.to_options()))?;
    Ok(Facts {
        name: load::name(Some(folder)),
        config: inspection.config,
        weight_bytes_on_disk: inspection.report.size_bytes,
        report: Some(inspection.report),
        device: inspection.device,
        device_reason: inspection.device_reason,
        plan: inspection.plan,
        fits: inspection.fits,
        has_tokenizer: inspection.has_tokenizer,
        warnings: inspection.warnings,
    })
}

fn embedded_facts(args: &InfoArgs) -> Result<Facts> {
    let engine = pollster::block_on(embedded::open(args.engine.to_options()))?;
    Ok(Facts {
        name: load::name(None),
        config: engine.config().clone(),
        weight_bytes_on_disk: embedded::WEIGHTS.len() as u64,
        report: None,
        device: engine.device().info.clone(),
        device_reason: engine.device().reason.clone(),
        plan: engine.plan().clone(),
        fits: engine.plan().check(),
        has_tokenizer: engine.tokenizer().is_ok(),
        warnings: engine.warnings().to_vec(),
    })
}

impl Facts {
    fn to_json(&self) -> Value {
        let dtypes = self.report.as_ref().map(|report| &report.dtypes);
        json!({
            "model": self.name,
            "model_type": self.config.model_type.name(),
            "n_parameters": self.config.n_parameters(),
            "config": self.config.to_json(),
            "weight_bytes_on_disk": self.weight_bytes_on_disk,
            "n_stored_tensors": self.report.as_ref().map(|report| report.n_tensors),
            "n_mtp_tensors": self.report.as_ref().map(|report| report.n_mtp_tensors),
            "dtypes": dtypes.map(|dtypes| dtypes.iter().map(|(dtype, n)| (dtype.to_string(), json!(n))).collect::<serde_json::Map<_, _>>()),
            "cache_bytes_per_token": self.config.cache_bytes_per_token(),
            "has_tokenizer": self.has_tokenizer,
            "device": self.device,
            "device_reason": self.device_reason,
            "plan": self.plan,
            "fits": self.fits.is_ok(),
            "problem": self.fits.as_ref().err().map(ToString::to_string),
            "warnings": self.warnings,
        })
    }

    fn to_table(&self) -> String {
        let mut rows = vec![("model", self.name.clone())];
        rows.extend(architecture(&self.config));
        rows.extend(self.storage());
        rows.extend(self.memory());
        rows.extend(self.warnings.iter().map(|warning| ("warning", warning.clone())));
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
        table(&rows)
    }

    fn storage(&self) -> Vec<(&'static str, String)> {
        let mut stored = bytes(self.weight_bytes_on_disk);
        let mut rows = Vec::new();
        if let Some(report) = &self.report {
            let dtypes: Vec<String> = report.dtypes.iter().map(|(dtype, n)| format!("{n} {dtype}")).collect();
            stored.push_str(&format!(" in {} tensors ({})", report.n_tensors, dtypes.join(", ")));
            if report.n_mtp_tensors > 0 {
                let left_out = format!("{} tensors of multi-token prediction, {}", report.n_mtp_tensors, bytes(report.mtp_bytes));
                rows.push(("left out", left_out));
            }
        }
        rows.insert(0, ("weights on disk", stored));
        rows.push(("tokenizer", if self.has_tokenizer { "yes" } else { "none: token ids only" }.to_owned()));
        rows
    }

    fn memory(&self) -> Vec<(&'static str, String)> {
        let plan = &self.plan;
        let available = plan.available_bytes.map_or_else(|| "unknown".to_owned(), bytes);
        let fits = match (&self.fits, plan.max_context_that_fits) {
            (Ok(()), _) => "yes".to_owned(),
            (Err(error), _) => format!("no: {error}"),
        };
        let binding = &plan.largest_binding;
        let limit = binding.limit_bytes.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {}", bytes(limit)));
        vec![
            ("device", format!("{} ({})", self.device.name, self.device_reason)),
            ("context", format!("{} tokens of the model's {}", plan.context, plan.model_context)),
            ("weights on device", bytes(plan.weight_bytes)),
            ("cache per token", format!("{} bytes", plan.cache_bytes_per_token)),
            ("cache at context", bytes(plan.cache_bytes)),
            ("workspace", format!("{} at {} tokens per chunk", bytes(plan.workspace_bytes), plan.prefill_chunk)),
            ("largest tensor", format!("{}, {} ({limit})", binding.name, bytes(binding.size_bytes))),
            ("memory needed", format!("{}, available {available}", bytes(plan.total_bytes))),
            ("fits", fits),
        ]
    }
}

fn architecture(config: &Config) -> Vec<(&'static str, String)> {
    let attention = match &config.indexer {
        Some(indexer) => {
            let n_full = indexer.indexer_types.iter().filter(|kind| **kind == IndexerType::Full).count();
            let shared = match indexer.indexer_types.len() - n_full {
                0 => String::new(),
                n_shared => format!(", {n_shared} layers share a selection"),
            };
            let (n_heads, width) = (indexer.index_n_heads, indexer.index_head_dim);
            format!("sparse: {} tokens per query, chosen by {n_heads} index heads of {width}{shared}", indexer.index_topk)
        }
        None => "dense".to_owned(),
    };
    let query = config.q_lora_rank.map_or_else(|| "full queries".to_owned(), |rank| format!("query rank {rank}"));
    let heads = format!(
        "{} of {}+{} (value {}), latent {}, {query}",
        config.num_attention_heads, config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim, config.kv_lora_rank
    );
    let mut rows = vec![
        ("type", config.model_type.name().to_owned()),
        ("parameters", format!("{} ({})", count(config.n_parameters()), config.n_parameters())),
        ("layers", format!("{} of width {}", config.num_hidden_layers, config.hidden_size)),
        ("attention", attention),
        ("heads", heads),
    ];
    if let Some(moe) = &config.moe {
        let n_layers = (0..config.num_hidden_layers).filter(|&layer_idx| config.is_moe(layer_idx)).count();
        let experts = format!(
            "{} of width {}, {} used per token, {} shared, in {n_layers} layers",
            moe.n_routed_experts, moe.moe_intermediate_size, moe.routing.num_experts_per_tok, moe.n_shared_experts
        );
        rows.push(("experts", experts));
    }
    rows.push(("vocabulary", format!("{} tokens", config.vocab_size)));
    rows
}
