//! A task, and how it becomes a conversation.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sferic_text::{Message, Role};

use crate::agent::World;
use crate::check::Check;
use crate::form::Form;
use crate::random::fingerprint;

/// What a task is about. The first four are the domains of DeepSeek-V3.2's post-training, with long documents beside them.
///
/// # Source
/// spec/dsa.md §7.1 and §7.3: reasoning, agent and alignment prompts in one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Domain {
    /// Numbers.
    Math,
    /// Strings, lists and small programs.
    Program,
    /// Puzzles, sorting, calendars.
    Reasoning,
    /// Looking up and quoting in a long document.
    Document,
    /// Tools: a store of pages and tables.
    Agent,
    /// Form, politeness, honesty.
    Alignment,
}

impl Domain {
    /// All domains.
    pub const ALL: [Self; 6] = [Self::Math, Self::Program, Self::Reasoning, Self::Document, Self::Agent, Self::Alignment];
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Math => "math",
            Self::Program => "program",
            Self::Reasoning => "reasoning",
            Self::Document => "document",
            Self::Agent => "agent",
            Self::Alignment => "alignment",
        })
    }
}

/// Whether the reference thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The answer follows a short thought.
    Thinking,
    /// The answer follows at once.
    Direct,
}

/// A prompt with a reference solution and a hidden answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Domain, generator, level and seed in one word: `math/addition/2/00000000000004d2`.
    pub id: String,
    /// What it is about.
    pub domain: Domain,
    /// The generator.
    pub name: String,
    /// Difficulty, from 1.
    pub level: u8,
    /// The problem without its wording; problems with equal keys are the same problem, and lie in the same split.
    pub key: String,
    /// The conversation up to the question; the last message is the user's. Without the document.
    pub messages: Vec<Message>,
    /// The text that the question is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Tools on offer, as JSON schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// What the tools see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<World>,
    /// What the reply should look like beside being right.
    pub form: Form,
    /// The hidden answer.
    pub check: Check,
    /// The reference: one assistant message with its thought, or, with tools, all calls, results and the reply.
    pub reference: Vec<Message>,
}

impl Task {
    /// Returns the messages that a model sees. The document stands in the first user message, in front of the question.
    pub fn prompt(&self) -> Vec<Message> {
        let mut messages = self.messages.clone();
        let first_user = messages.iter_mut().find(|message| message.role == Role::User);
        if let (Some(document), Some(message)) = (&self.document, first_user) {
            message.content = Some(with_document(document, message.text()));
        }
        messages
    }

    /// Returns the whole reference conversation, prompt included.
    ///
    /// In direct mode its thoughts are left out.
    pub fn conversation(&self, mode: Mode) -> Vec<Message> {
        let mut messages = self.prompt();
        messages.extend(self.reference.iter().cloned().map(|message| match mode {
            Mode::Thinking => message,
            Mode::Direct => Message { reasoning_content: None, ..message },
        }));
        messages
    }

    /// Returns the reference conversation with the steps to the answer in the reply itself, for all to read.
    ///
    /// A prompt that asks for the answer alone gets it alone, and a task with tools or without a thought is answered directly.
    pub fn worked_conversation(&self) -> Vec<Message> {
        let mut messages = self.conversation(Mode::Direct);
        if let (Some(reply), Some(last)) = (self.worked_reply(), messages.last_mut()) {
            last.content = Some(reply);
        }
        messages
    }

    fn worked_reply(&self) -> Option<String> {
        let thinking = self.thinking();
        if !self.tools.is_empty() || thinking.is_empty() || self.form == Form::Bare {
            return None;
        }
        let plain = format!("{thinking}\n{}", self.reply());
        // Steps of several lines, or a list in them, would be taken for the answer.
        let labelled = format!("{plain}\nAnswer: {}", self.check.answer());
        let is_right = |reply: &String| self.check.accepts(reply) && self.form.holds(reply, &self.check.answer());
        [plain, labelled].into_iter().find(is_right)
    }

    /// The last message of the reference: the answer as a direct reply.
    pub fn reply(&self) -> &str {
        self.reference.last().map(Message::text).unwrap_or_default()
    }

    /// The thought before the last message of the reference.
    pub fn thinking(&self) -> &str {
        self.reference.last().and_then(|message| message.reasoning_content.as_deref()).unwrap_or_default()
    }

    /// A hash of what a model sees; tasks with equal ones are duplicates.
    pub fn fingerprint(&self) -> u64 {
        let mut texts: Vec<&str> = self.messages.iter().map(Message::text).collect();
        texts.push(self.document.as_deref().unwrap_or_default());
        // The page store is seen through tools only; its content makes the answer.
        let world = self.world.as_ref().map(World::to_json).unwrap_or_default();
        texts.push(&world);
        fingerprint(&texts)
    }
}

/// Puts a document in front of a question, the way the prompts of this crate do.
///
/// An application that asks about a document should write its prompt with the same function.
pub fn with_document(document: &str, question: &str) -> String {
    format!("<document>\n{document}\n</document>\n\n{question}")
}
