//! `sferic chat`: a conversation by lines.

use crate::cli::ChatOptions;
use crate::failure::{self, ExitStatus, bad_input};
use crate::output::{note, print, print_json};
use crate::{interrupt, load, reply, text};
use anyhow::{Context, Result};
use sferic_engine::{Chat, ChatOptions as Beginning, Conversation, Engine, Message, Role, SamplingParams};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

const HELP: &str = "\
/help          shows this
/clear         forgets the conversation, not the instructions
/undo          takes back the last message and its reply
/regenerate    asks for another reply to the last message
/document FILE puts a text file before the next message, as a document to ask about
/system TEXT   sets the instructions; without TEXT removes them
/save FILE     writes the messages as JSON
/load FILE     goes on with the messages of a JSON file
/exit          leaves, as the end of the input does
A backslash at the end of a line continues the message on the next line; a message that begins with a slash is typed with two.
Ctrl-C ends a reply.";

/// Talks until the input ends.
pub fn run(folder: Option<PathBuf>, options: ChatOptions) -> Result<ExitStatus> {
    let as_json = options.json;
    let result = converse(folder, options);
    if let (true, Err(error)) = (as_json, &result)
        && !failure::is_closed_pipe(error)
    {
        reply::write_error(error)?;
    }
    result
}

fn converse(folder: Option<PathBuf>, options: ChatOptions) -> Result<ExitStatus> {
    let engine = load::open_for_reply(folder.as_deref(), options.engine.to_options())?;
    if options.json {
        print_json(&load::start_event(folder.as_deref(), &engine))?;
    }
    let is_interactive = std::io::stdin().is_terminal();
    if is_interactive {
        note("type a message, /help for the commands, /exit to leave");
    }
    let chat = engine.chat(beginning(&options, options.system.clone(), Vec::new()))?;
    let params = options.sampling.over(engine.default_sampling());
    params.validate(engine.config().vocab_size)?;
    let document = options.document.as_deref().map(text::read_document).transpose()?;
    let mut talk = Talk { engine, chat, options, params, document, n_regenerated: 0 };
    let mut input = Input { is_interactive, n_lines: 0 };
    let mut status = ExitStatus::Done;
    loop {
        let step = match input.message() {
            Ok(None) => return Ok(status),
            Ok(Some(message)) => talk.take(&message),
            // A broken line can be followed by a good one, a broken stream cannot.
            Err(error) if error.is::<std::io::Error>() => return Err(error),
            Err(error) => Err(error),
        };
        match step {
            Ok(Flow::Continue) => {}
            Ok(Flow::Exit) => return Ok(status),
            Err(error) if failure::is_closed_pipe(&error) => return Err(error),
            // The conversation stays usable; a script learns of the first failure at the end.
            Err(error) => {
                let found = failure::report(&error);
                if talk.options.json {
                    reply::write_error(&error)?;
                }
                if status == ExitStatus::Done && !is_interactive {
                    status = found;
                }
            }
        }
    }
}

fn beginning(options: &ChatOptions, system: Option<String>, messages: Vec<Message>) -> Beginning {
    let (thinking, keep_thinking) = (options.thinking, options.keep_thinking);
    Beginning { system, messages, thinking, keep_thinking, ..Beginning::default() }
}

/// Whether to go on.
enum Flow {
    Continue,
    Exit,
}

/// The lines of standard input.
struct Input {
    is_interactive: bool,
    n_lines: usize,
}

impl Input {
    /// The next message, of several lines if they end in a backslash; `None` at the end.
    fn message(&mut self) -> Result<Option<String>> {
        let _guard = self.is_interactive.then(interrupt::warns);
        let mut message = String::new();
        let mut prompt = "> ";
        loop {
            if self.is_interactive {
                let mut err = std::io::stderr().lock();
                let _ = err.write_all(prompt.as_bytes()).and_then(|()| err.flush());
            }
            let Some(line) = self.line()? else {
                return Ok((!message.is_empty()).then_some(message));
            };
            match line.strip_suffix('\\') {
                Some(start) => {
                    message.push_str(start);
                    message.push('\n');
                    prompt = "… ";
                }
                None => {
                    message.push_str(&line);
                    return Ok(Some(message));
                }
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let n_bytes = std::io::stdin().lock().read_until(b'\n', &mut bytes).context("cannot read standard input")?;
        if n_bytes == 0 {
            return Ok(None);
        }
        self.n_lines += 1;
        let line = text::from_utf8(bytes, &format!("{}, line {}", text::STDIN, self.n_lines))?;
        Ok(Some(text::without_line_end(line)))
    }
}

/// A conversation with its settings.
struct Talk {
    engine: Engine,
    chat: Chat,
    options: ChatOptions,
    params: SamplingParams,
    /// What is put before the next message.
    document: Option<String>,
    n_regenerated: u64,
}

impl Talk {
    /// Says a message or obeys a command.
    fn take(&mut self, message: &str) -> Result<Flow> {
        let Some(command) = message.strip_prefix('/') else {
            self.ask(message)?;
            return Ok(Flow::Continue);
        };
        if command.starts_with('/') {
            self.ask(command)?;
            return Ok(Flow::Continue);
        }
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = argument.trim();
        match name {
            "help" => note(HELP),
            "clear" => {
                self.chat.clear();
                note("the conversation is forgotten");
            }
            "undo" if self.chat.undo() => note("the last message and its reply are taken back"),
            "undo" => note("there is nothing to take back"),
            "regenerate" => self.regenerate()?,
            "document" => self.attach(argument)?,
            "system" => self.set_system(argument)?,
            "save" => self.save(argument)?,
            "load" => self.load(argument)?,
            "exit" | "quit" => return Ok(Flow::Exit),
            _ => {
                let hint = "/help lists the commands, a message that begins with a slash is typed with two";
                return Err(bad_input(format!("/{name} is no command; {hint}")));
            }
        }
        Ok(Flow::Continue)
    }

    /// Says `message`, with the document before it if there is one that waits. It goes on waiting if that fails.
    fn ask(&mut self, message: &str) -> Result<()> {
        if message.trim().is_empty() {
            return Err(bad_input("the message is empty: expected some text"));
        }
        match &self.document {
            Some(document) => self.say(&text::about(document, message), 0)?,
            None => self.say(message, 0)?,
        }
        self.document = None;
        Ok(())
    }

    fn attach(&mut self, file: &str) -> Result<()> {
        let document = text::read_document(named(file, "/document FILE")?)?;
        let n_tokens = self.engine.encode(&document)?.len();
        note(&format!("a document of {n_tokens} tokens stands before the next message"));
        self.document = Some(document);
        Ok(())
    }

    /// Says `message` and writes the reply. `seed_offset` makes another reply of the same seed.
    fn say(&mut self, message: &str, seed_offset: u64) -> Result<()> {
        let as_json = self.options.json;
        let mut params = self.params.clone();
        params.seed = params.seed.map(|seed| seed.wrapping_add(seed_offset));
        let mut turn = self.chat.say(message, params)?;
        let stop = reply::write(&mut turn, as_json);
        if !as_json {
            print("\n")?;
        }
        if let Some(stop) = stop? {
            reply::show_stats(&stop);
        }
        Ok(())
    }

    fn regenerate(&mut self) -> Result<()> {
        let last = self.chat.messages().iter().rfind(|message| message.role == Role::User);
        let Some(message) = last.map(|message| message.text().to_owned()) else {
            return Err(bad_input("there is no message to reply to again"));
        };
        self.chat.undo();
        self.n_regenerated += 1;
        self.say(&message, self.n_regenerated)
    }

    fn set_system(&mut self, text: &str) -> Result<()> {
        let is_instruction = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
        let messages: Vec<Message> = self.chat.messages().iter().skip_while(is_instruction).cloned().collect();
        let system = (!text.is_empty()).then(|| text.to_owned());
        note(if system.is_some() { "the instructions are set" } else { "the instructions are removed" });
        self.begin(system, messages)
    }

    fn save(&self, file: &str) -> Result<()> {
        let path = named(file, "/save FILE")?;
        let json = serde_json::to_string_pretty(self.chat.messages())?;
        std::fs::write(path, json + "\n").with_context(|| format!("cannot write the conversation: {}", path.display()))?;
        note(&format!("{} messages written to {}", self.chat.messages().len(), path.display()));
        Ok(())
    }

    fn load(&mut self, file: &str) -> Result<()> {
        let path = named(file, "/load FILE")?;
        let conversation = Conversation::from_json(&text::read(path)?)
            .with_context(|| format!("the conversation is not usable: {}", path.display()))?;
        note(&format!("{} messages read from {}", conversation.messages.len(), path.display()));
        self.begin(None, conversation.messages)
    }

    /// Goes on with other messages.
    fn begin(&mut self, system: Option<String>, messages: Vec<Message>) -> Result<()> {
        self.chat = self.engine.chat(beginning(&self.options, system, messages))?;
        Ok(())
    }
}

fn named<'a>(file: &'a str, form: &str) -> Result<&'a Path> {
    if file.is_empty() { Err(bad_input(format!("expected a file name: {form}"))) } else { Ok(Path::new(file)) }
}
