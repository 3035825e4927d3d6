//! `sferic generate`: a continuation on standard output, nothing else there.

use crate::cli::GenerateArgs;
use crate::failure::{self, ExitStatus, bad_input, usage};
use crate::output::{print, print_json};
use crate::{load, reply, text};
use anyhow::Result;
use sferic_engine::{ChatOptions, Engine, Stop, StopReason};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Continues the prompt, or answers it with `--chat` and `--document`.
pub fn run(args: GenerateArgs) -> Result<ExitStatus> {
    let (folder, source) = model_and_prompt(&args)?;
    let result =
        read_prompt(source, args.document.as_deref()).and_then(|prompt| continue_prompt(&args, folder.as_deref(), &prompt));
    if let (true, Err(error)) = (args.json, &result)
        && !failure::is_closed_pipe(error)
    {
        reply::write_error(error)?;
    }
    result
}

/// Where the prompt comes from.
enum PromptSource {
    Argument(String),
    File(PathBuf),
}

/// Sorts out the positional arguments: the prompt is the last one, unless it comes from a file.
fn model_and_prompt(args: &GenerateArgs) -> Result<(Option<PathBuf>, PromptSource)> {
    let mut words = args.words.clone();
    let source = match &args.file {
        Some(file) => PromptSource::File(file.clone()),
        None => match words.pop() {
            Some(word) if word == "-" => PromptSource::File(word.into()),
            Some(word) => PromptSource::Argument(word),
            None => {
                return Err(usage("no prompt: give it as an argument, with --file FILE, or as - to read standard input"));
            }
        },
    };
    let folder = match (words.pop(), &args.model) {
        (Some(word), Some(_)) => {
            return Err(usage(format!("one prompt and one model are expected, found another argument: {word}")));
        }
        (Some(word), None) if !words.is_empty() => {
            return Err(usage(format!("the prompt comes from --file, found another argument: {word}")));
        }
        (Some(word), None) => Some(PathBuf::from(word)),
        (None, folder) => folder.clone(),
    };
    if let (None, PromptSource::Argument(word)) = (&folder, &source)
        && Path::new(word).join("config.json").is_file()
    {
        return Err(usage(format!("{word} is a model folder: give a prompt after it, or --file FILE")));
    }
    Ok((folder, source))
}

fn read_prompt(source: PromptSource, document: Option<&Path>) -> Result<String> {
    let prompt = match source {
        PromptSource::Argument(prompt) => prompt,
        PromptSource::File(file) if document == Some(file.as_path()) && file == Path::new("-") => {
            return Err(usage("the prompt and the document are both to come from standard input: give one of them as a file"));
        }
        PromptSource::File(file) => text::without_line_end(text::read(&file)?),
    };
    if prompt.is_empty() {
        return Err(bad_input("the prompt is empty: expected one character or more"));
    }
    Ok(match document {
        Some(file) => text::about(&text::read_document(file)?, &prompt),
        None => prompt,
    })
}

fn continue_prompt(args: &GenerateArgs, folder: Option<&Path>, prompt: &str) -> Result<ExitStatus> {
    let engine = load::open_for_reply(folder, args.engine.to_options())?;
    if args.json {
        print_json(&load::start_event(folder, &engine))?;
    }
    let stop =
        if args.chat || args.document.is_some() { answer(args, &engine, prompt)? } else { continuation(args, &engine, prompt)? };
    if !args.json && std::io::stdout().is_terminal() {
        print("\n")?;
    }
    let Some(stop) = stop else {
        return Ok(ExitStatus::Done);
    };
    reply::show_stats(&stop);
    Ok(if stop.reason == StopReason::Cancelled { ExitStatus::Cancelled } else { ExitStatus::Done })
}

fn continuation(args: &GenerateArgs, engine: &Engine, prompt: &str) -> Result<Option<Stop>> {
    let mut session = engine.session();
    let mut generation = session.generate_text(prompt, args.sampling.over(engine.default_sampling()))?;
    reply::write(&mut generation, args.json)
}

fn answer(args: &GenerateArgs, engine: &Engine, prompt: &str) -> Result<Option<Stop>> {
    let options = ChatOptions { system: args.system.clone(), thinking: args.thinking, ..ChatOptions::default() };
    let mut chat = engine.chat(options)?;
    let mut turn = chat.say(prompt, args.sampling.over(engine.default_sampling()))?;
    reply::write(&mut turn, args.json)
}
