//! The crate's one error type.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, TextError>;

/// What can go wrong between text and token ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// Occurs when a file cannot be opened or read.
    #[error("cannot read the file ({source}); check the path and its permissions: {path}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// Occurs when text from outside is not UTF-8.
    #[error("not valid UTF-8 at byte {byte_offset}; expected UTF-8 text, convert it first: {name}")]
    InvalidUtf8 {
        /// The file or stream.
        name: String,
        /// The first byte that belongs to no character.
        byte_offset: usize,
    },
    /// Occurs when a file is no Hugging Face `tokenizer.json`.
    #[error("expected a Hugging Face tokenizer.json, found something else ({reason}); download the file again: {name}")]
    InvalidTokenizer {
        /// The file, or a description of where the bytes came from.
        name: String,
        /// What the parser stumbled over.
        reason: String,
    },
    /// Occurs when the tokenizer fails on a text.
    #[error("the tokenizer cannot encode {n_bytes} bytes of text: {reason}")]
    Encode {
        /// Length of the text.
        n_bytes: usize,
        /// The tokenizer's words.
        reason: String,
    },
    /// Occurs when the tokenizer's decoder fails on known tokens.
    #[error("the tokenizer cannot decode {n_tokens} tokens: {reason}")]
    Decode {
        /// How many tokens were given.
        n_tokens: usize,
        /// The tokenizer's words.
        reason: String,
    },
    /// Occurs when an id has no token.
    #[error("token id {token_id} has no token, ids run below {id_bound}; model and tokenizer may not belong together")]
    UnknownTokenId {
        /// The id.
        token_id: u32,
        /// One more than the highest id that has a token.
        id_bound: u32,
    },
    /// Occurs when a token that is needed is not in the vocabulary.
    #[error("the tokenizer has no token `{token}`; model and tokenizer may not belong together")]
    UnknownToken {
        /// The token's text.
        token: String,
    },
    /// Occurs when a stop string is empty: it would match before the first character.
    #[error("stop string {stop_idx} is empty; expected at least one character, remove it")]
    EmptyStopString {
        /// Its place in the list.
        stop_idx: usize,
    },
    /// Occurs when `tokenizer_config.json` is not as Hugging Face writes it.
    #[error("tokenizer_config.json: {field}: expected {expected}")]
    TokenizerConfig {
        /// The key, or the place of a syntax error.
        field: String,
        /// What should be there.
        expected: &'static str,
    },
    /// Occurs when a conversation is not OpenAI-shaped JSON.
    #[error(
        "cannot read the messages ({source}); expected a list of {{\"role\", \"content\"}} objects, or an object with `messages`"
    )]
    Messages {
        /// Where and what.
        source: serde_json::Error,
    },
    /// Occurs when a chat template does not compile.
    #[error("chat template `{name}`, line {line}: {reason}; the template is broken, use another one")]
    TemplateSyntax {
        /// The template's name, `default` for an unnamed one.
        name: String,
        /// Line in the template, from 1; 0 if unknown.
        line: usize,
        /// The template engine's words.
        reason: String,
    },
    /// Occurs when a chat template fails while it runs.
    #[error("chat template `{name}`, line {line}: {reason}; the template does not fit these messages")]
    TemplateRender {
        /// The template's name.
        name: String,
        /// Line in the template, from 1; 0 if unknown.
        line: usize,
        /// The template engine's words.
        reason: String,
    },
    /// Occurs when a chat template calls `raise_exception`: the conversation breaks the model's rules.
    #[error("chat template `{name}`, line {line}, refuses these messages: {reason}")]
    TemplateRefused {
        /// The template's name.
        name: String,
        /// Line in the template, from 1; 0 if unknown.
        line: usize,
        /// The template author's words.
        reason: String,
    },
    /// Occurs when a list of named templates holds neither the asked name nor `default`.
    #[error("no chat template named `{name}`; the checkpoint has: {available}")]
    UnknownTemplate {
        /// The asked name.
        name: String,
        /// The names there are.
        available: String,
    },
    /// Occurs when a conversation has no form in the prompt format.
    #[error("message {message_idx}: {problem}")]
    InvalidMessage {
        /// Its place in the conversation, from 0.
        message_idx: usize,
        /// What is wrong and what to do.
        problem: &'static str,
    },
    /// Occurs when tools are offered to a model whose prompt format has none.
    #[error("{n_tools} tools are offered, but this model has no chat template that could name them; remove the tools")]
    ToolsUnsupported {
        /// How many tools were given.
        n_tools: usize,
    },
    /// Occurs when the arguments of a tool call are no JSON object.
    #[error("message {message_idx}: arguments of the call to `{function}`: expected a JSON object{detail}")]
    ToolArguments {
        /// The message's place in the conversation, from 0.
        message_idx: usize,
        /// The function called.
        function: String,
        /// The JSON parser's words, or empty.
        detail: String,
    },
    /// Occurs when a model's text breaks the rules of its own format.
    #[error("malformed completion at byte {byte_offset}: {problem}")]
    MalformedCompletion {
        /// Where in the completion.
        byte_offset: usize,
        /// What is wrong.
        problem: &'static str,
    },
}
