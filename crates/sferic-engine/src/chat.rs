//! A conversation in messages instead of tokens.

mod together;

use crate::event::{CancelToken, Event, Stats};
use crate::sampler::SamplingParams;
use crate::session::{Generation, Session};
use crate::{Engine, EngineError};
use serde_json::Value;
use sferic_text::{Message, Role};

/// How a conversation begins and how the model is to answer.
#[derive(Clone, Debug, Default)]
pub struct ChatOptions {
    /// Instructions before the conversation.
    pub system: Option<String>,
    /// Messages that come after the instructions, an imported conversation for example.
    pub messages: Vec<Message>,
    /// Tools on offer, `{"type": "function", "function": {…}}`.
    pub tools: Vec<Value>,
    /// Asks the model to reason before it answers.
    pub thinking: bool,
    /// Keeps the reasoning of earlier turns in the prompt where the format can show it.
    pub keep_thinking: bool,
}

/// A conversation in messages. The prompt is rendered anew for every turn; what it shares with the last one is not computed again.
pub struct Chat {
    session: Session,
    messages: Vec<Message>,
    tools: Vec<Value>,
    thinking: bool,
    keep_thinking: bool,
}

impl Engine {
    /// Starts a conversation.
    ///
    /// # Errors
    /// [`EngineError::NoTokenizer`] for a model without a tokenizer.
    pub fn chat(&self, options: ChatOptions) -> Result<Chat, EngineError> {
        self.tokenizer()?;
        let mut chat =
            Chat { session: self.session(), messages: Vec::new(), tools: Vec::new(), thinking: false, keep_thinking: false };
        chat.replace(options);
        Ok(chat)
    }
}

impl Chat {
    /// Returns the messages so far, replies included.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Returns the session behind the conversation.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the session behind the conversation, to look into it ([`Session::selections`]).
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Returns the prompt for the messages so far, up to where the model speaks.
    ///
    /// # Errors
    /// [`EngineError::Text`] when the model's format refuses the messages.
    pub fn prompt(&self) -> Result<String, EngineError> {
        let format = self.session.engine().prompt_format()?;
        Ok(format.render(&self.messages, &self.tools, self.thinking, self.keep_thinking)?)
    }

    /// Goes on with another conversation, an edited one for example. What its prompt shares with the last one is not computed again.
    pub fn replace(&mut self, options: ChatOptions) {
        let ChatOptions { system, messages, tools, thinking, keep_thinking } = options;
        self.messages = system.into_iter().map(Message::system).chain(messages).collect();
        (self.tools, self.thinking, self.keep_thinking) = (tools, thinking, keep_thinking);
    }

    /// Appends a message without asking for a reply, a tool's result for example.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Forgets everything but the instructions at the beginning.
    pub fn clear(&mut self) {
        let is_instruction = |message: &Message| matches!(message.role, Role::System | Role::Developer);
        let n_instructions = self.messages.iter().take_while(|message| is_instruction(message)).count();
        self.messages.truncate(n_instructions);
        self.session.clear();
    }

    /// Takes back the last message of the user and everything after it; returns whether there was one.
    pub fn undo(&mut self) -> bool {
        let last = self.messages.iter().rposition(|message| message.role == Role::User);
        if let Some(message_idx) = last {
            self.messages.truncate(message_idx);
        }
        last.is_some()
    }

    /// Says `user` and starts the reply.
    ///
    /// # Errors
    /// Those of [`Chat::reply`]; the message is taken back then.
    pub fn say(&mut self, user: &str, params: SamplingParams) -> Result<ChatTurn<'_>, EngineError> {
        let n_before = self.messages.len();
        self.messages.push(Message::user(user));
        match self.prompt_ids() {
            Ok(prompt_ids) => self.start(&prompt_ids, params, n_before),
            Err(error) => {
                self.messages.truncate(n_before);
                Err(error)
            }
        }
    }

    /// Starts a reply to the messages as they are.
    ///
    /// # Errors
    /// [`EngineError::Text`] when the model's format refuses the messages, and those of [`Session::generate`].
    pub fn reply(&mut self, params: SamplingParams) -> Result<ChatTurn<'_>, EngineError> {
        let prompt_ids = self.prompt_ids()?;
        let n_before = self.messages.len();
        self.start(&prompt_ids, params, n_before)
    }

    /// Returns the tokens of [`Chat::prompt`].
    ///
    /// # Errors
    /// [`EngineError::Text`] when the model's format refuses the messages.
    pub fn prompt_ids(&self) -> Result<Vec<u32>, EngineError> {
        let engine = self.session.engine();
        let add_special_tokens = engine.prompt_format()?.add_special_tokens();
        Ok(engine.tokenizer()?.encode(&self.prompt()?, add_special_tokens)?)
    }

    /// Starts a reply; the messages go back to `n_before` when it fails or nothing is drawn.
    fn start(&mut self, prompt_ids: &[u32], mut params: SamplingParams, n_before: usize) -> Result<ChatTurn<'_>, EngineError> {
        let engine = self.session.engine().clone();
        params.stop.extend(engine.prompt_format()?.stop_strings().iter().map(|stop| (*stop).to_owned()));
        match self.session.generate(prompt_ids, params) {
            Ok(mut generation) => {
                generation.show_special_tokens();
                let (messages, thinking) = (&mut self.messages, self.thinking);
                Ok(ChatTurn { generation, engine, messages, thinking, n_before, text: String::new(), is_kept: false })
            }
            Err(error) => {
                self.messages.truncate(n_before);
                Err(error)
            }
        }
    }
}

/// A reply in the making. When it ends, or is dropped, what was written so far becomes a message of the conversation; if nothing
/// was, the question is taken back.
pub struct ChatTurn<'c> {
    generation: Generation<'c>,
    engine: Engine,
    messages: &'c mut Vec<Message>,
    thinking: bool,
    n_before: usize,
    text: String,
    is_kept: bool,
}

impl ChatTurn<'_> {
    /// Returns the next event, as [`Generation::next`] does.
    ///
    /// # Errors
    /// Those of [`Generation::next`].
    pub async fn next(&mut self) -> Option<Result<Event, EngineError>> {
        let event = self.generation.next().await;
        match &event {
            Some(Ok(Event::Text(text))) => self.text.push_str(text),
            Some(Ok(Event::Stop(_)) | Err(_)) | None => self.keep(),
            Some(Ok(_)) => {}
        }
        event
    }

    /// Returns the handle that ends this reply from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.generation.cancel_token()
    }

    /// Returns counts and times so far.
    pub fn stats(&self) -> Stats {
        self.generation.stats()
    }

    fn keep(&mut self) {
        if std::mem::replace(&mut self.is_kept, true) {
            return;
        }
        match self.engine.prompt_format() {
            Ok(format) if self.stats().generated_tokens > 0 => {
                self.messages.push(format.parse(&self.text, self.thinking).into_message());
            }
            _ => self.messages.truncate(self.n_before),
        }
    }
}

impl Drop for ChatTurn<'_> {
    fn drop(&mut self) {
        self.keep();
    }
}

#[cfg(test)]
mod tests;
