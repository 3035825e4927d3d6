#![allow(clippy::unwrap_used)]

use super::*;

fn parse(text: &str) -> Result<GrpoConfig, toml::de::Error> {
    toml::from_str(&format!("steps = 10\nlr = 1e-3\n{text}"))
}

#[test]
fn a_short_file_is_complete_and_valid() {
    let config =
        parse("[[tasks]]\ndomain = \"math\"\nlevels = [1, 2]\n[[tasks]]\ngenerators = [\"addition\"]\nweight = 3.0").unwrap();
    config.check("grpo").unwrap();
    assert_eq!((config.tasks[0].domain, config.tasks[1].weight), (Some(Domain::Math), 3.0));
    assert!(config.unbiased_kl && config.keep_routing && config.keep_sampling_mask);
    assert!(config.objective().off_policy_threshold.is_some());
    assert_eq!(parse("off_policy_threshold = 0.0").unwrap().objective().off_policy_threshold, None);
    assert_eq!(config.schedule().rate(9), 1e-3, "without a lower rate it is constant");
}

#[test]
fn values_out_of_range_are_refused_by_their_key() {
    for (text, key) in [
        ("group_size = 1", "grpo.group_size"),
        ("top_p = 0.0", "grpo.top_p"),
        ("temperature = 0.0", "grpo.temperature"),
        ("clip = [1.0, 0.2]", "grpo.clip"),
        ("thinking = 1.5", "grpo.thinking"),
        ("min_lr = 1.0", "grpo.min_lr"),
        ("warmup_steps = 10", "grpo.warmup_steps"),
        ("loss_scale = 3.0", "grpo.loss_scale"),
        ("updates = 1000", "grpo.updates"),
        ("betas = [0.9, 1.0]", "grpo.betas"),
        ("kl_weight = -1.0", "grpo.kl_weight"),
        ("[[tasks]]\nweight = -1.0", "grpo.tasks.weight"),
        ("[reward]\nlength = -0.1", "grpo.reward.length"),
        ("[judge]\nmodel = \"m\"\nweight = 1.0\nrubric = \"{prompt}\"", "grpo.judge.rubric"),
    ] {
        let error = parse(text).unwrap().check("grpo").unwrap_err();
        assert!(matches!(&error, TrainError::ConfigValue { key: found, .. } if found == key), "{error}");
    }
    assert!(parse("unknown = 1").unwrap_err().to_string().contains("unknown"));
}

#[test]
fn names_of_specialists_are_names_of_folders() {
    let specialist = |name: &str| SpecialistConfig { name: name.to_owned(), sft: None, grpo: parse("").unwrap() };
    specialist("math-1").check().unwrap();
    assert!(specialist("../math").check().is_err() && specialist("").check().is_err());
    let distill: DistillConfig = toml::from_str("n_conversations = 5").unwrap();
    distill.check().unwrap();
    assert!(DistillConfig { tries: 0, ..distill }.check().unwrap_err().to_string().contains("distill.tries"));
}
