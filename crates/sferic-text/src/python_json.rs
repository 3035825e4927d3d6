//! JSON text exactly as Python's `json.dumps` writes it.
//!
//! Prompts were made by Python during training, so a space after a comma or `1e-05` for `1e-5` is part of the format.
//! [`reformat`] works on JSON text and not on parsed values: integers of any size and floats pass without loss.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::Value;

/// The arguments of `json.dumps` that chat templates use.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    /// `indent`: the text of one level; `None` writes one line.
    pub indent: Option<String>,
    /// Between items; Python's default depends on `indent`.
    pub item_separator: String,
    /// Between key and value.
    pub key_separator: String,
    /// `ensure_ascii`.
    pub ascii: bool,
    /// `sort_keys`.
    pub sort_keys: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { indent: None, item_separator: ", ".into(), key_separator: ": ".into(), ascii: false, sort_keys: false }
    }
}

/// Writes `value` as `json.dumps(value, ensure_ascii=False)` does.
pub(crate) fn dumps(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, &Style::default(), 0);
    out
}

/// Writes `value` in the given style.
pub(crate) fn dumps_styled(value: &Value, style: &Style) -> String {
    let mut out = String::new();
    write_value(&mut out, value, style, 0);
    out
}

/// Rewrites JSON text as `json.dumps(json.loads(text), ensure_ascii=False)` does, repeated keys of inner objects aside.
pub(crate) fn reformat(text: &str) -> serde_json::Result<String> {
    serde_json::from_str::<IgnoredAny>(text)?;
    let mut out = String::with_capacity(text.len() + 16);
    for token in Lexer(text) {
        match token {
            "," => out.push_str(", "),
            ":" => out.push_str(": "),
            _ if token.starts_with('"') => write_string(&mut out, &serde_json::from_str::<String>(token)?, false),
            _ if token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => out.push_str(&python_number(token)),
            _ => out.push_str(token),
        }
    }
    Ok(out)
}

/// Splits the text of a JSON object into keys and the text of their values.
///
/// A repeated key keeps its first place and its last value, as in a Python dictionary. `None` if the text is no object.
pub(crate) fn object_entries(text: &str) -> serde_json::Result<Option<Vec<(String, &str)>>> {
    serde_json::from_str::<IgnoredAny>(text)?;
    let mut entries: Vec<(String, &str)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let (mut depth, mut key, mut value_start) = (0usize, None, 0usize);
    for token in Lexer(text) {
        let offset = token.as_ptr() as usize - text.as_ptr() as usize;
        if depth == 0 && token != "{" {
            return Ok(None);
        }
        if depth == 1 && (token == "," || token == "}") {
            if let Some(key) = key.take() {
                let value = text.get(value_start..offset).unwrap_or_default().trim();
                let place = *places.entry(key).or_insert_with_key(|key| {
                    entries.push((key.clone(), value));
                    entries.len() - 1
                });
                if let Some(entry) = entries.get_mut(place) {
                    entry.1 = value;
                }
            }
        } else if depth == 1 && token == ":" {
            value_start = offset + 1;
        } else if depth == 1 && key.is_none() {
            key = Some(serde_json::from_str::<String>(token)?);
        }
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(Some(entries))
}

/// Writes a float as Python's `repr` does: shortest digits, an exponent below 1e-4 and from 1e16.
pub(crate) fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{exponent_sign}{:02}", exponent.unsigned_abs());
    }
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let n_whole = exponent as usize + 1;
    if digits.len() <= n_whole {
        return format!("{sign}{digits}{}.0", "0".repeat(n_whole - digits.len()));
    }
    let (whole, fraction) = digits.split_at(n_whole);
    format!("{sign}{whole}.{fraction}")
}

/// Tokens of valid JSON text: string literals with their quotes, punctuation, numbers and words.
struct Lexer<'a>(&'a str);

impl<'a> Iterator for Lexer<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let first = text.chars().next()?;
        let length = match first {
            '"' => {
                let mut escaped = false;
                let closing = text.char_indices().skip(1).find(|(_, c)| {
                    let closes = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    closes
                });
                closing.map_or(text.len(), |(offset, _)| offset + 1)
            }
            ',' | ':' | '{' | '}' | '[' | ']' => 1,
            _ => text.find(|c: char| c.is_whitespace() || ",:{}[]\"".contains(c)).unwrap_or(text.len()),
        };
        let (token, rest) = text.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

fn python_number(token: &str) -> String {
    match token.parse::<f64>() {
        Ok(value) if token.contains(['.', 'e', 'E']) => python_float(value),
        _ if token == "-0" => "0".into(),
        _ => token.into(),
    }
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.push_str(&python_float(float)),
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => write_string(out, text, style.ascii),
        Value::Array(items) => write_items(out, ['[', ']'], items, style, depth, |out, item| {
            write_value(out, item, style, depth + 1);
        }),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if style.sort_keys {
                entries.sort_by_key(|(key, _)| *key);
            }
            write_items(out, ['{', '}'], &entries, style, depth, |out, (key, item)| {
                write_string(out, key, style.ascii);
                out.push_str(&style.key_separator);
                write_value(out, item, style, depth + 1);
            });
        }
    }
}

fn write_items<T>(
    out: &mut String,
    brackets: [char; 2],
    items: &[T],
    style: &Style,
    depth: usize,
    mut write: impl FnMut(&mut String, &T),
) {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    };
    out.push(brackets[0]);
    for (item_idx, item) in items.iter().enumerate() {
        if item_idx > 0 {
            out.push_str(&style.item_separator);
        }
        new_line(out, depth + 1);
        write(out, item);
    }
    if !items.is_empty() {
        new_line(out, depth);
    }
    out.push(brackets[1]);
}

fn write_string(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !(' '..='~').contains(&c)) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        // Left column: what CPython 3.11's repr answers.
        for (expected, value) in [
            ("0.0", 0.0),
            ("-0.0", -0.0),
            ("1.0", 1.0),
            ("0.1", 0.1),
            ("0.0001", 1e-4),
            ("1e-05", 1e-5),
            ("1.5e-07", 1.5e-7),
            ("1000000000000000.0", 1e15),
            ("1e+16", 1e16),
            ("1.2345678901234568e+29", 123456789012345678901234567890.0),
            ("-2.5e+100", -2.5e100),
            ("5e-324", 5e-324),
            ("123456.789", 123456.789),
            ("NaN", f64::NAN),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(python_float(value), expected);
        }
    }

    #[test]
    fn text_is_reformatted_without_loss() {
        let source = "{\"a\":[1,2.50,1E5,-0,123456789012345678901234567890],\n \"b\\u00e9\":{\"c\":\"x\\\"\\\\,:\\u4e2d\\n\"},\"d\":[],\"e\":null}";
        let expected = "{\"a\": [1, 2.5, 100000.0, 0, 123456789012345678901234567890], \"bé\": {\"c\": \"x\\\"\\\\,:中\\n\"}, \"d\": [], \"e\": null}";
        assert_eq!(reformat(source).unwrap(), expected);
        assert!(reformat("{\"a\":}").is_err());
        assert!(reformat("").is_err());
        assert!(reformat("\"\\ud800\"").is_err());
    }

    #[test]
    fn objects_split_into_entries() {
        let entries = object_entries(" { \"a\" : {\"x\": [1, 2]} , \"b\":\"},:\", \"a\": 3 } ").unwrap().unwrap();
        assert_eq!(entries, [("a".to_string(), "3"), ("b".to_string(), "\"},:\"")]);
        assert_eq!(object_entries("{}").unwrap().unwrap(), []);
        assert!(object_entries("[1]").unwrap().is_none());
        assert!(object_entries("3").unwrap().is_none());
        assert!(object_entries("{\"a\"}").is_err());
    }

    #[test]
    fn styles_follow_json_dumps() {
        let value: Value = serde_json::from_str(r#"{"b": [1, {}], "a": "é😀"}"#).unwrap();
        let indented = Style { indent: Some("  ".into()), item_separator: ",".into(), ..Style::default() };
        assert_eq!(dumps_styled(&value, &indented), "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": \"é😀\"\n}");
        let sorted = Style { ascii: true, sort_keys: true, ..Style::default() };
        assert_eq!(dumps_styled(&value, &sorted), "{\"a\": \"\\u00e9\\ud83d\\ude00\", \"b\": [1, {}]}");
    }
}
