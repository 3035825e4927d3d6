//! What the program says about itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::sferic;

const COMMANDS: [&str; 10] = ["chat", "generate", "info", "devices", "trace", "verify", "convert", "compare", "prompt", "train"];

#[test]
fn help_lists_commands_and_exit_codes() {
    let run = sferic(["--help"]);
    run.assert_done();
    for command in COMMANDS {
        assert!(run.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {}", run.stdout);
    }
    assert_exit_codes(&run.stdout);
}

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS.into_iter().chain(["train tokenizer", "train data", "train pretrain"]) {
        let run = sferic(command.split(' ').chain(["--help"]));
        run.assert_done();
        assert_exit_codes(&run.stdout);
        if command != "train" {
            assert!(run.stdout.contains("--json"), "{command}: {}", run.stdout);
        }
    }
}

#[test]
fn what_is_not_understood_ends_with_2() {
    for args in [
        &["sing"][..],
        &["--sing"],
        &["generate"],
        &["generate", "a", "b", "c"],
        &["generate", "x", "--device", "tpu"],
        &["generate", "x", "--temperature", "warm"],
        &["generate", "x", "--system", "without --chat"],
        &["generate", "x", "--top-logprobs", "3"],
        &["generate", "--file", "f", "model", "prompt"],
        &["verify"],
        &["convert", "out"],
        &["convert", "out", "--weights", "q5"],
        &["convert", "--weights", "q4"],
        &["convert", "a", "b", "c", "--weights", "q4"],
        &["compare"],
        &["compare", "x", "--window", "0"],
        &["trace", "--input", "x"],
        &["train", "pretrain"],
    ] {
        let run = sferic(args);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
        assert_eq!(run.stdout, "");
        assert!(run.stderr.starts_with("error: "), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn an_unknown_device_names_the_known_ones() {
    let run = sferic(["generate", "x", "--device", "tpu"]);
    assert!(run.stderr.contains("expected auto, cpu, gpu or gpu:N"), "{}", run.stderr);
}

fn assert_exit_codes(help: &str) {
    for line in ["  0    done", "  1    failed", "  2    the command line", "  3    bad input", "  130  cancelled"] {
        assert!(help.contains(line), "{line:?} is missing in: {help}");
    }
}
