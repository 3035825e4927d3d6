#![allow(clippy::unwrap_used)]

use super::*;

const DATA: &str = r#"
output = "run"
model = "config.json"
[data]
root = "corpus"
folder = "data"
tokenizer = "tokenizer.json"
[[data.sources]]
name = "stories"
path = "stories.txt.xz"
format = "text"
weight = 1.0
"#;

const PRETRAIN: &str = r#"
[pretrain]
steps = 10
seq_len = 8
batch_size = 2
lr = 1e-3
min_lr = 1e-4
"#;

/// A run of one stage.
fn good() -> String {
    format!("{DATA}{PRETRAIN}")
}

const CHATS: &str = r#"
[chats]
folder = "chats"
[[chats.sources]]
name = "talk"
format = "small_talk"
weight = 1.0
"#;

fn parse(text: &str) -> Result<RunConfig, TrainError> {
    RunConfig::parse(text, Path::new("somewhere/run.toml"))
}

#[test]
fn paths_are_relative_to_the_file_and_defaults_hold() {
    let config = parse(&good()).unwrap();
    assert_eq!(config.output, Path::new("somewhere/run"));
    assert_eq!(config.data.tokenizer, Path::new("somewhere/tokenizer.json"));
    let pretrain = config.stage(Stage::Pretrain).unwrap();
    assert_eq!((pretrain.betas, pretrain.weight_decay), ([0.9, 0.95], 0.1));
    assert_eq!(config.stages(), [Stage::Pretrain]);
    let error = config.stage(Stage::Warmup).unwrap_err().to_string();
    assert!(error.contains("`warmup`"), "{error}");
}

#[test]
fn each_bad_value_is_named() {
    for (from, to, key) in [
        ("steps = 10", "steps = 0", "pretrain.steps"),
        ("seq_len = 8", "seq_len = 0", "pretrain.seq_len"),
        ("lr = 1e-3", "lr = -1.0", "pretrain.lr"),
        ("lr = 1e-3", "lr = nan", "pretrain.lr"),
        ("min_lr = 1e-4", "min_lr = 1.0", "pretrain.min_lr"),
        ("min_lr = 1e-4", "min_lr = 1e-4\nwarmup_steps = 10", "pretrain.warmup_steps"),
        ("min_lr = 1e-4", "min_lr = 1e-4\nbetas = [0.9, 1.0]", "pretrain.betas"),
        ("min_lr = 1e-4", "mix = { story = 1.0 }", "pretrain.mix.story"),
        (
            "min_lr = 1e-4",
            "phases = [{ from_step = 5, mix = { stories = 1.0 } }, { from_step = 5, mix = { stories = 2.0 } }]",
            "pretrain.phases.1.from_step",
        ),
        ("min_lr = 1e-4", "phases = [{ from_step = 0, mix = { stories = 1.0 } }]", "pretrain.phases.0.from_step"),
        ("min_lr = 1e-4", "phases = [{ from_step = 5, mix = { story = 1.0 } }]", "pretrain.phases.0.mix.story"),
        ("min_lr = 1e-4", "from = \"sparse\"", "pretrain.from"),
        ("[pretrain]", "[sparse]\nwithin_documents = true", "sparse.within_documents"),
        ("weight = 1.0", "weight = -1.0", "data.sources.stories.weight"),
        ("weight = 1.0", "weight = 1.0\nchat_share = 0.5", "data.sources.stories.chat_share"),
        ("format = \"text\"", "format = \"titled\"\nchat_share = 0.5", "data.sources.stories.prompts"),
        ("format = \"text\"", "format = \"titled\"\nthinking = 0.5", "data.sources.stories.thoughts"),
        ("weight = 1.0", "weight = 1.0\nthinking = 1.5", "data.sources.stories.thinking"),
        ("weight = 1.0", "weight = 1.0\nfilter = { min_letters = 2.0 }", "data.sources.stories.filter.min_letters"),
        ("weight = 1.0", "weight = 1.0\ntasks = { n = 3 }", "data.sources.stories.tasks"),
        ("weight = 1.0", "weight = 1.0\nsmall_talk = { n = 3 }", "data.sources.stories.small_talk"),
        ("format = \"text\"", "format = \"tasks\"\ntasks = { n = 0 }", "data.sources.stories.tasks.n"),
        ("path = \"stories.txt.xz\"", "", "data.sources.stories.path"),
    ] {
        let text = good().replacen(from, to, 1);
        assert_ne!(text, good(), "{from}");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{to}: {error}");
    }
}

#[test]
fn conversations_are_checked_and_lie_beside_the_file() {
    let config = parse(&format!("{}{CHATS}", good())).unwrap();
    assert_eq!(config.chats.unwrap().folder, Path::new("somewhere/chats"));
    for (from, to, key) in [
        ("weight = 1.0", "weight = 0.0", "chats.sources"),
        ("weight = 1.0", "weight = 1.0\nsmall_talk = { n = 0 }", "chats.sources.talk.small_talk.n"),
        ("folder = ", "packed_len = 100\nfolder = ", "chats.packed_len"),
    ] {
        let error = parse(&format!("{}{}", good(), CHATS.replacen(from, to, 1))).unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{to}: {error}");
    }
    let error = parse(&format!("{}[sft]\nsteps = 1\nseq_len = 8\nbatch_size = 1\nlr = 1e-3\n", good())).unwrap_err().to_string();
    assert!(error.contains("`chats`"), "{error}");
}

const SPECIALIST: &str = r#"
[[chats.sources]]
name = "sums"
format = "tasks"
weight = 0.0
[[specialists]]
name = "math"
[specialists.sft]
steps = 3
seq_len = 1024
batch_size = 2
lr = 1e-3
mix = { sums = 0.75 }
[specialists.grpo]
steps = 1
lr = 1e-5
"#;

/// A run that starts from a folder, with `CHATS` and a specialist.
fn specialist() -> String {
    format!("init_from = \"base\"{DATA}{CHATS}{SPECIALIST}")
}

#[test]
fn a_specialist_begins_with_conversations_of_its_own() {
    let specialist = specialist();
    let config = parse(&specialist).unwrap();
    let cold = config.cold_start(&config.specialists[0]).unwrap().unwrap();
    assert_eq!(cold.folder(Stage::Sft), Path::new("somewhere/run/specialists/math/sft"));
    assert_eq!(
        (cold.init_from.as_deref(), &*cold.model),
        (Some(Path::new("somewhere/base")), Path::new("somewhere/base/config.json"))
    );
    assert_eq!((cold.steps(), cold.stage(Stage::Sft).unwrap().steps), (vec![Step::Stage(Stage::Sft)], 3));
    let chats = cold.chats_of(Stage::Sft).unwrap();
    assert_eq!(chats.sources.iter().map(|source| source.weight).collect::<Vec<_>>(), [0.0, 0.75]);
    // Tokens of other conversations lie in the folder of the run.
    assert_ne!(chats.folder, config.chats.as_ref().unwrap().folder);

    let (table, grpo) = (specialist.find("[specialists.sft]").unwrap(), specialist.find("[specialists.grpo]").unwrap());
    let without = parse(&format!("{}{}", &specialist[..table], &specialist[grpo..])).unwrap();
    assert!(without.cold_start(&without.specialists[0]).unwrap().is_none());
    for (from, to, key) in [
        ("steps = 3", "steps = 0", "specialists.math.sft.steps"),
        ("mix = { sums = 0.75 }", "mix = { stories = 1.0 }", "specialists.math.sft.mix.stories"),
        ("mix = { sums = 0.75 }", "mix = { sums = 0.0 }", "specialists.math.sft.mix"),
        ("mix = { sums = 0.75 }", "context = 4096", "specialists.math.sft"),
        ("[[chats.sources]]\nname = \"talk\"", "[[chats.sources]]\nname = \"sums\"", "chats.sources.sums.name"),
    ] {
        let error = parse(&specialist.replace(from, to)).unwrap_err();
        assert!(matches!(&error, TrainError::ConfigValue { key: found, .. } if found == key), "{to}: {error}");
    }
    let chats = specialist.find("[chats]").unwrap()..specialist.find("[[specialists]]").unwrap();
    let error = parse(&format!("{}{}", &specialist[..chats.start], &specialist[chats.end..])).unwrap_err().to_string();
    assert!(error.contains("specialists.math.sft"), "{error}");
}

const DISTILL: &str = r#"
[distill]
from = "math"
chats_share = 0.5
chats_mix = { sums = 3.0, talk = 1.0 }
[distill.collect]
n_conversations = 4
[distill.train]
steps = 3
seq_len = 1024
batch_size = 2
lr = 1e-3
"#;

#[test]
fn one_model_starts_from_a_specialist_and_mixes_the_conversations() {
    let text = format!("{}{DISTILL}", specialist());
    let folder = tempfile::tempdir().unwrap();
    let config = RunConfig::parse(&text, &folder.path().join("run.toml")).unwrap();
    assert_eq!((config.specialist_before(Stage::Distill), config.specialist_before(Stage::Sft)), (Some("math"), None));
    let collected = config.folder(Step::Collect);
    std::fs::create_dir_all(&collected).unwrap();
    std::fs::write(collected.join("math.jsonl"), "{}").unwrap();
    let sources = config.chats_of(Stage::Distill).unwrap().sources;
    let weights: Vec<(&str, f64)> = sources.iter().map(|source| (source.name.as_str(), source.weight)).collect();
    assert_eq!(weights, [("specialist-math", 0.5), ("talk", 0.125), ("sums", 0.375)]);
    let with_stage = format!("{PRETRAIN}[distill.train]\nfrom = \"pretrain\"");
    for (from, to, key) in [
        ("from = \"math\"", "from = \"maths\"", "distill.from"),
        ("[distill.train]", &with_stage, "distill.train.from"),
        ("talk = 1.0", "talks = 1.0", "distill.chats_mix.talks"),
        ("sums = 3.0, talk = 1.0", "sums = 0.0", "distill.chats_mix"),
    ] {
        let error = parse(&text.replace(from, to)).unwrap_err();
        assert!(matches!(&error, TrainError::ConfigValue { key: found, .. } if found == key), "{to}: {error}");
    }
}

#[test]
fn unknown_keys_and_bad_syntax_name_key_and_file() {
    let error = parse(&good().replace("steps = 10", "steps = 10\nstepz = 3")).unwrap_err().to_string();
    assert!(error.contains("stepz") && error.contains("run.toml"), "{error}");
    assert!(matches!(parse("output = "), Err(TrainError::ConfigSyntax { .. })));
}

#[test]
fn each_stage_starts_from_the_one_before_or_the_one_named() {
    let table = |name: &str, more: &str| format!("[{name}]\nsteps = 1\nseq_len = 8\nbatch_size = 1\nlr = 1e-3\n{more}\n");
    let text = format!("{}{CHATS}{}{}{}", good(), table("warmup", ""), table("sparse", ""), table("sft", "from = \"warmup\""));
    let config = parse(&text).unwrap();
    assert_eq!(config.stages(), [Stage::Pretrain, Stage::Warmup, Stage::Sparse, Stage::Sft]);
    assert_eq!(config.before(Stage::Pretrain), None);
    assert_eq!(config.before(Stage::Sparse), Some(Stage::Warmup));
    assert_eq!(config.before(Stage::Sft), Some(Stage::Warmup));
    assert_eq!(config.folder(Stage::Sft), Path::new("somewhere/run/sft"));
    assert_eq!(config.folder(Step::Grpo), Path::new("somewhere/run/grpo"));
}

#[test]
fn the_files_of_the_repository_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in ["docs/recipes/scout/run.toml", "tests/smoke/run.toml"] {
        RunConfig::open(&root.join(file)).unwrap();
    }
}
