//! What chat templates expect of Python: `tojson`, `raise_exception`, methods of strings and dictionaries, and how `None`
//! and `True` are printed.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

use crate::python_json::{Style, dumps_styled, python_float};

/// Adds all of it to an environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(format_value);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", raise_exception);
}

/// Returns the words that a template gave to `raise_exception`, if that is what stopped it.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(Refusal(words)) = inner.downcast_ref::<Refusal>() {
            return Some(words.clone());
        }
        source = inner.source();
    }
    None
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn raise_exception(words: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception was called").with_source(Refusal(words)))
}

/// `json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`: unlike Jinja2's own, no HTML escapes.
fn tojson(value: Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let mut style = Style::default();
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<Value>>("indent")?,
    };
    if let Some(indent) = indent.filter(|indent| !indent.is_none()) {
        let levels = match (indent.as_str(), indent.as_i64()) {
            (Some(text), _) => text.to_string(),
            (None, Some(n_spaces)) => " ".repeat(usize::try_from(n_spaces.clamp(0, 64)).unwrap_or(0)),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: indent must be a number or a string")),
        };
        style.indent = Some(levels);
        style.item_separator = ",".into();
    }
    if let Some(separators) = options.get::<Option<Vec<String>>>("separators")? {
        let [item_separator, key_separator] = separators
            .try_into()
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two strings"))?;
        style.item_separator = item_separator;
        style.key_separator = key_separator;
    }
    style.ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    style.sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "tojson: the value is undefined"));
    }
    let value = serde_json::to_value(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(dumps_styled(&value, &style))
}

/// Prints a value as Python's `str` does, and never escapes it for HTML, whatever the name of the template.
fn format_value(out: &mut Output, _state: &State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::String => Ok(write!(out, "{value}")?),
        _ => Ok(out.write_str(&repr(value)?)?),
    }
}

/// Returns what Python's `repr` writes for strings, numbers, lists and dictionaries.
fn repr(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number if !value.is_integer() => f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float_repr),
        ValueKind::String => string_repr(value.as_str().unwrap_or_default()),
        ValueKind::Seq => {
            let items: Vec<String> = value.try_iter()?.map(|item| repr(&item)).collect::<Result<_, _>>()?;
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let entry = |key: Value| Ok(format!("{}: {}", repr(&key)?, repr(&value.get_item(&key)?)?));
            let entries: Vec<String> = value.try_iter()?.map(entry).collect::<Result<_, Error>>()?;
            format!("{{{}}}", entries.join(", "))
        }
        _ => value.to_string(),
    })
}

/// `repr` and `json.dumps` agree on floats but for these.
fn float_repr(value: f64) -> String {
    if value.is_finite() {
        return python_float(value);
    }
    value.to_string().to_lowercase()
}

fn string_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
