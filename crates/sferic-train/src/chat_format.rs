//! How a model's conversations are written: by its chat template, or in DeepSeek-V3.2's own format where it has none.
//!
//! It is the format in which the engine asks the model that a stage leaves. Text that spells a control token stays text: a character
//! for private use stands for the spelling while the conversation is rendered.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use sferic_text::{Message, PromptFormat, RenderOptions, Role, TextError, dsv32};

use crate::TrainError;
use crate::chat::{Chat, Segment};
use crate::control::ControlTokens;
use crate::corpus::Part;

/// The first of the characters for private use that stand for control tokens.
const STAND_IN: u32 = 0xf_0000;
/// The day that templates show, 2025-01-01: what is learned does not depend on when it is prepared.
const NOW_UNIX_SECS: i64 = 1_735_689_600;

const TURN_IS_NO_PROMPT: &str = "the chat template writes no turn of the assistant as the prompt for it begins, so that there is nothing to \
     learn; use another template";
const TURN_HAS_NO_END: &str = "no turn of the assistant ends with an end token; name the template's own as `eos_token` in \
     tokenizer_config.json, or its id in `eos_token_id` of generation_config.json, beside the tokenizer";
const NO_REASONING: &str =
    "the chat template has no place for this message's reasoning; ask for no thinking, or use another template";

/// The format of a model's conversations.
#[derive(Debug, Clone)]
pub struct ChatFormat {
    controls: Arc<ControlTokens>,
    /// Where the files lie that tell the format; it is read when a conversation asks for it.
    folder: Option<PathBuf>,
    format: OnceLock<PromptFormat>,
}

impl ChatFormat {
    /// Returns DeepSeek-V3.2's format with the control tokens of this crate's tokenizers.
    pub fn own() -> Self {
        Self::beside(None, Arc::new(ControlTokens::own()))
    }

    /// Returns the format of the model whose files lie in `folder`.
    pub(crate) fn beside(folder: Option<&Path>, controls: Arc<ControlTokens>) -> Self {
        Self { controls, folder: folder.map(Path::to_path_buf), format: OnceLock::new() }
    }

    /// Returns the rendered conversation with a mark on what the model writes: its turns, each up to its end token.
    ///
    /// With a template these are the turns that begin with the very prompt that the template makes for them; others, whose
    /// reasoning it leaves out for instance, are context.
    ///
    /// # Errors
    /// [`TrainError::Text`] when the format cannot show the conversation or, for a template, none of its replies can be learned;
    /// [`TrainError::MissingToken`] when the tokenizer lacks a token of the format.
    pub fn segments(&self, chat: &Chat) -> Result<Vec<Segment>, TrainError> {
        let (segments, problem) = self.rendered(chat)?;
        let last = chat.messages.iter().rposition(|message| message.role == Role::Assistant);
        match (problem, last) {
            (Some(problem), Some(message_idx)) if segments.iter().all(|segment| !segment.is_models) => {
                Err(TextError::InvalidMessage { message_idx, problem }.into())
            }
            _ => Ok(segments),
        }
    }

    /// Returns the rendered conversation.
    ///
    /// # Errors
    /// As [`segments`](Self::segments), but for replies that cannot be learned.
    pub fn parts(&self, chat: &Chat) -> Result<Vec<Part<'static>>, TrainError> {
        Ok(self.rendered(chat)?.0.into_iter().map(|segment| segment.part).collect())
    }

    /// Returns one question up to where the model answers without reasoning.
    ///
    /// # Errors
    /// As [`parts`](Self::parts).
    pub fn question(&self, text: &str) -> Result<Vec<Part<'static>>, TrainError> {
        let chat = Chat::direct(vec![Message::user(text)]);
        let hidden = Hidden::new(&chat, &self.controls)?;
        if matches!(self.format()?, PromptFormat::V32) {
            self.check_v32(&chat)?;
        }
        let rendered = self.render(&hidden.chat, &hidden.chat.messages, false)?;
        Ok(hidden.cut(&rendered, false).into_iter().map(|segment| segment.part).collect())
    }

    /// Returns the segments, and why a template's turns are not the model's where some are not.
    fn rendered(&self, chat: &Chat) -> Result<(Vec<Segment>, Option<&'static str>), TrainError> {
        let hidden = Hidden::new(chat, &self.controls)?;
        if matches!(self.format()?, PromptFormat::V32) {
            self.check_v32(chat)?;
            let whole = self.render(&hidden.chat, &hidden.chat.messages, true)?;
            return Ok((marked(hidden.cut(&whole, false)), None));
        }
        let whole = self.render(&hidden.chat, &hidden.chat.messages, true)?;
        check_shown(&hidden.chat, &whole)?;
        let (turns, problem) = self.turns(&hidden.chat, &whole);
        let (mut segments, mut done) = (Vec::new(), 0);
        for Range { start, end } in turns {
            segments.extend(hidden.cut(&whole[done..start], false));
            segments.extend(hidden.cut(&whole[start..end], true));
            done = end;
        }
        segments.extend(hidden.cut(&whole[done..], false));
        Ok((segments, problem))
    }

    fn format(&self) -> Result<&PromptFormat, TrainError> {
        if let Some(format) = self.format.get() {
            return Ok(format);
        }
        let format = match &self.folder {
            // What stages make is of this type.
            Some(folder) => PromptFormat::from_folder_files("deepseek_v32", folder)?,
            None => PromptFormat::V32,
        };
        Ok(self.format.get_or_init(|| format))
    }

    fn render(&self, chat: &Chat, messages: &[Message], is_whole: bool) -> Result<String, TrainError> {
        let options =
            RenderOptions { thinking: chat.thinking, keep_thinking: false, is_whole, now_unix_secs: Some(NOW_UNIX_SECS) };
        Ok(self.format()?.render_with(messages, &chat.tools, options)?)
    }

    fn check_v32(&self, chat: &Chat) -> Result<(), TrainError> {
        if let Some(late) = chat.messages.iter().skip(1).position(|message| message.role == Role::System) {
            let problem = "a system message must be the first to be learned from";
            return Err(TextError::InvalidMessage { message_idx: late + 1, problem }.into());
        }
        let always = [dsv32::BOS, dsv32::EOS, dsv32::USER, dsv32::ASSISTANT, dsv32::THINK_END];
        let thoughts = chat.thinking.then_some(dsv32::THINK_START);
        always.into_iter().chain(thoughts).try_for_each(|token| self.controls.id(token).map(|_| ()))
    }

    /// Returns the places of the turns that a model can learn, and why others cannot be learned.
    fn turns(&self, chat: &Chat, whole: &str) -> (Vec<Range<usize>>, Option<&'static str>) {
        let (mut turns, mut problem) = (Vec::<Range<usize>>::new(), None);
        for (message_idx, message) in chat.messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let prompt = self.render(chat, &chat.messages[..message_idx], false);
            let so_far = self.render(chat, &chat.messages[..=message_idx], true);
            // A template may refuse to begin with the assistant.
            let (Ok(prompt), Ok(so_far)) = (prompt, so_far) else { continue };
            let (start, end) = (prompt.len(), so_far.len());
            let is_prompted = whole.starts_with(&prompt) && whole.starts_with(&so_far) && start < end;
            if !is_prompted || turns.last().is_some_and(|last| last.end > start) {
                problem = Some(TURN_IS_NO_PROMPT);
                continue;
            }
            match self.end_in(&whole[start..end]) {
                Some(n_bytes) => turns.push(start..start + n_bytes),
                None => problem = Some(TURN_HAS_NO_END),
            }
        }
        (turns, problem)
    }

    /// Returns where the first end token in `text` ends.
    fn end_in(&self, text: &str) -> Option<usize> {
        let mut from = 0;
        while let Some((at, control_idx)) = self.controls.first_in(&text[from..]) {
            let control = &self.controls.all()[control_idx];
            from += at + control.text.len();
            if self.controls.is_end(control.id) {
                return Some(from);
            }
        }
        None
    }
}

/// Marks what the model writes in DeepSeek-V3.2's format: from the token that lets it speak, which is the prompt's, to its end token.
///
/// It speaks after `<｜Assistant｜>` and after tool results, each followed by `<think>` or `</think>`. Before the first user turn
/// such a token belongs to the explanation of tools.
fn marked(mut segments: Vec<Segment>) -> Vec<Segment> {
    let (mut has_user_spoken, mut is_models) = (false, false);
    for Segment { part, is_models: mark } in &mut segments {
        let token = if let Part::Token(text) = part { &**text } else { "" };
        if token == dsv32::USER {
            (has_user_spoken, is_models) = (true, false);
        }
        *mark = is_models;
        match token {
            dsv32::THINK_START | dsv32::THINK_END => is_models = has_user_spoken,
            dsv32::EOS => is_models = false,
            _ => {}
        }
    }
    segments
}

/// Refuses what a template leaves out in silence.
fn check_shown(chat: &Chat, whole: &str) -> Result<(), TextError> {
    let is_shown = |tool: &Value| tool.pointer("/function/name").and_then(Value::as_str).is_none_or(|name| whole.contains(name));
    if !chat.tools.iter().all(is_shown) {
        return Err(TextError::ToolsUnsupported { n_tools: chat.tools.len() });
    }
    let last = chat.messages.iter().rposition(|message| message.role == Role::Assistant).filter(|_| chat.thinking);
    let thought = |message_idx: usize| chat.messages[message_idx].reasoning_content.as_deref().map(str::trim);
    match last {
        Some(message_idx) if thought(message_idx).is_some_and(|thought| !whole.contains(thought)) => {
            Err(TextError::InvalidMessage { message_idx, problem: NO_REASONING })
        }
        _ => Ok(()),
    }
}

/// A conversation in whose texts a character stands for each spelling of a control token.
struct Hidden<'a> {
    chat: Chat,
    /// The stand-in of the first control token.
    first: u32,
    controls: &'a ControlTokens,
}

impl<'a> Hidden<'a> {
    fn new(chat: &Chat, controls: &'a ControlTokens) -> Result<Self, TrainError> {
        let unreadable = |source| TrainError::Text(TextError::Messages { source });
        let mut value = serde_json::to_value(chat).map_err(unreadable)?;
        // Behind all such characters that the conversation has itself.
        let mut first = STAND_IN;
        each_text(&mut value, &mut |text| {
            first = text.chars().map(|letter| u32::from(letter) + 1).fold(first, u32::max);
        });
        let n_left = (u32::from(char::MAX) + 1).saturating_sub(first);
        if (n_left as usize) < controls.all().len() {
            let problem =
                "it has the last characters for private use, which are needed to tell control tokens from text; remove them";
            return Err(TextError::InvalidMessage { message_idx: 0, problem }.into());
        }
        let mut hidden = Self { chat: Chat::default(), first, controls };
        each_text(&mut value, &mut |text| hidden.hide(text));
        hidden.chat = serde_json::from_value(value).map_err(unreadable)?;
        Ok(hidden)
    }

    fn hide(&self, text: &mut String) {
        let mut from = 0;
        while let Some((at, control_idx)) = self.controls.first_in(&text[from..]) {
            let stand_in: String = char::from_u32(self.first + control_idx as u32).into_iter().collect();
            let at = from + at;
            text.replace_range(at..at + self.controls.all()[control_idx].text.len(), &stand_in);
            from = at + stand_in.len();
        }
    }

    /// Cuts a rendered text at its control tokens and puts the hidden spellings back.
    fn cut(&self, text: &str, is_models: bool) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let found = self.controls.first_in(rest).map(|(at, control_idx)| (at, &self.controls.all()[control_idx]));
            let mut before = found.map_or(rest, |(at, _)| &rest[..at]);
            if found.is_some_and(|(_, control)| control.strips[0]) {
                before = before.trim_end();
            }
            if !before.is_empty() {
                segments.push(Segment { part: Part::Text(Cow::Owned(self.shown(before))), is_models });
            }
            let Some((at, control)) = found else { return segments };
            segments.push(Segment { part: Part::Token(control.text.clone()), is_models });
            rest = &rest[at + control.text.len()..];
            if control.strips[1] {
                rest = rest.trim_start();
            }
        }
    }

    fn shown(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for letter in text.chars() {
            let nth = u32::from(letter).checked_sub(self.first).map(|nth| nth as usize);
            match nth.and_then(|nth| self.controls.all().get(nth)) {
                Some(control) => shown.push_str(&control.text),
                None => shown.push(letter),
            }
        }
        shown
    }
}

/// Calls `visit` with every string and every key of a JSON value.
fn each_text(value: &mut Value, visit: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, visit)),
        Value::Object(keys) => {
            for (mut key, mut value) in std::mem::take(keys) {
                visit(&mut key);
                each_text(&mut value, visit);
                keys.insert(key, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "chat_format_tests.rs"]
mod tests;
