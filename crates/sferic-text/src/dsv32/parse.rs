//! Completion to reasoning, content and tool calls.

use super::{
    BOS, EOS, INVOKE_END, INVOKE_START, PARAMETER_END, PARAMETER_START, THINK_END, THINK_START, TOOL_CALLS_END, TOOL_CALLS_START,
};
use crate::error::{Result, TextError};
use crate::message::{Completion, ToolCall};
use crate::python_json::{dumps, reformat};

/// Takes apart what the model wrote after a prompt from [`render`](super::render); `thinking` as in that call.
///
/// EOS at the end may be there or not, white space between tags is free. Reasoning that is empty counts as none. Values with
/// `string="false"` are JSON and enter the arguments as Python would write them.
///
/// # Errors
/// [`TextError::MalformedCompletion`] if reasoning has no end, a tag is missing or out of place, a value is no JSON, a
/// parameter comes twice, or a marker stands inside text. [`parse_lenient`] always answers.
pub fn parse(completion: &str, thinking: bool) -> Result<Completion> {
    let mut scanner = Scanner { text: completion, offset: 0 };
    let body_end = completion.find(EOS).unwrap_or(completion.len());
    if completion.len() > body_end + EOS.len() {
        return Err(malformed(body_end + EOS.len(), "text after the end of the answer"));
    }
    scanner.text = completion.get(..body_end).unwrap_or(completion);

    let mut answer = Completion::default();
    if thinking {
        let reasoning = scanner.take_text(THINK_END)?.ok_or_else(|| malformed(body_end, "the reasoning has no </think>"))?;
        answer.reasoning = Some(reasoning.to_string()).filter(|reasoning| !reasoning.is_empty());
    }
    match scanner.take_text(TOOL_CALLS_START)? {
        None => answer.content = scanner.take_rest_text()?.to_string(),
        Some(content) => {
            answer.content = content.strip_suffix("\n\n").unwrap_or(content).to_string();
            answer.tool_calls = scanner.tool_calls()?;
            scanner.skip_whitespace();
            if !scanner.rest().is_empty() {
                return Err(malformed(scanner.offset, "text after the tool calls"));
            }
        }
    }
    Ok(answer)
}

/// Takes apart what the model wrote, whatever it is.
///
/// A malformed block of tool calls stays in the content as text; reasoning that never ends is all reasoning; what follows
/// EOS is dropped.
pub fn parse_lenient(completion: &str, thinking: bool) -> Completion {
    let body = completion.split_once(EOS).map_or(completion, |(body, _)| body);
    let has_think_start = body.trim_start().starts_with(THINK_START);
    let (reasoning, text) = match body.split_once(THINK_END) {
        Some((reasoning, text)) if thinking || has_think_start => (Some(reasoning), text),
        None if thinking || has_think_start => (Some(body), ""),
        _ => (None, body),
    };
    let without_start = |reasoning: &str| reasoning.trim_start().strip_prefix(THINK_START).unwrap_or(reasoning).to_string();
    let reasoning = reasoning.map(without_start).filter(|reasoning| !reasoning.is_empty());

    let as_text = Completion { reasoning, content: text.to_string(), tool_calls: Vec::new() };
    let Some((before, block)) = text.split_once(TOOL_CALLS_START) else { return as_text };
    let mut scanner = Scanner { text: block, offset: 0 };
    match scanner.tool_calls() {
        Err(_) => as_text,
        Ok(tool_calls) => {
            let before = before.strip_suffix("\n\n").unwrap_or(before);
            Completion { content: format!("{before}{}", scanner.rest().trim_end()), tool_calls, ..as_text }
        }
    }
}

/// A place in the completion.
struct Scanner<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Scanner<'a> {
    /// Reads tool calls up to and with the end of their block; the start is read already.
    fn tool_calls(&mut self) -> Result<Vec<ToolCall>> {
        let mut calls = Vec::new();
        loop {
            self.skip_whitespace();
            if self.eat(TOOL_CALLS_END) {
                return Ok(calls);
            }
            if !self.eat(INVOKE_START) {
                return Err(self.expected("expected an invoke tag or the end of the tool calls"));
            }
            calls.push(self.tool_call()?);
        }
    }

    /// Reads one call; its tag is read up to the name.
    fn tool_call(&mut self) -> Result<ToolCall> {
        let name = self.take_until("\">").ok_or_else(|| self.expected("the name of the function has no end"))?;
        let mut parameters: Vec<(&str, String)> = Vec::new();
        loop {
            self.skip_whitespace();
            if self.eat(INVOKE_END) {
                break;
            }
            if !self.eat(PARAMETER_START) {
                return Err(self.expected("expected a parameter tag or the end of the call"));
            }
            let (key, json) = self.parameter()?;
            if parameters.iter().any(|(known, _)| *known == key) {
                return Err(self.expected("a parameter comes twice"));
            }
            parameters.push((key, json));
        }
        let members: Vec<String> = parameters.iter().map(|(key, json)| format!("{}: {json}", dumps(&(*key).into()))).collect();
        Ok(ToolCall::new(name, format!("{{{}}}", members.join(", "))))
    }

    /// Reads one parameter as key and JSON; its tag is read up to the name.
    fn parameter(&mut self) -> Result<(&'a str, String)> {
        let key = self.take_until("\" string=\"").ok_or_else(|| self.expected("a parameter has no string attribute"))?;
        let is_string = self.eat("true\">");
        if !is_string && !self.eat("false\">") {
            return Err(self.expected("the string attribute must be true or false"));
        }
        let value_offset = self.offset;
        let value = self.take_until(PARAMETER_END).ok_or_else(|| self.expected("a parameter has no end"))?;
        if is_string {
            return Ok((key, dumps(&value.into())));
        }
        let json = reformat(value).map_err(|_| malformed(value_offset, "a parameter with string=\"false\" must hold JSON"))?;
        Ok((key, json))
    }

    /// Takes plain text before a marker, and the marker; `None` without moving if there is no marker.
    fn take_text(&mut self, marker: &str) -> Result<Option<&'a str>> {
        let start = self.offset;
        let Some(text) = self.take_until(marker) else { return Ok(None) };
        check_plain(text, start)?;
        Ok(Some(text))
    }

    fn take_rest_text(&mut self) -> Result<&'a str> {
        let rest = self.rest();
        check_plain(rest, self.offset)?;
        self.offset = self.text.len();
        Ok(rest)
    }

    fn take_until(&mut self, marker: &str) -> Option<&'a str> {
        let (before, _) = self.rest().split_once(marker)?;
        self.offset += before.len() + marker.len();
        Some(before)
    }

    fn eat(&mut self, marker: &str) -> bool {
        let found = self.rest().starts_with(marker);
        if found {
            self.offset += marker.len();
        }
        found
    }

    fn skip_whitespace(&mut self) {
        let rest = self.rest();
        self.offset += rest.len() - rest.trim_start().len();
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn expected(&self, problem: &'static str) -> TextError {
        malformed(self.offset, problem)
    }
}

/// Refuses markers of the format inside text: they show that the model lost the thread.
fn check_plain(text: &str, text_offset: usize) -> Result<()> {
    let markers = [BOS, THINK_START, THINK_END, "｜DSML｜"];
    match markers.iter().filter_map(|marker| text.find(marker)).min() {
        Some(offset) => Err(malformed(text_offset + offset, "a marker of the prompt format inside text")),
        None => Ok(()),
    }
}

fn malformed(byte_offset: usize, problem: &'static str) -> TextError {
    TextError::MalformedCompletion { byte_offset, problem }
}
