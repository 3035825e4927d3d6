//! What tools see: pages and tables.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sferic_text::ToolCall;

/// How many pages a search shows.
const MAX_FOUND: usize = 5;

/// Pages and tables behind the tools of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Pages of the store; none: there is no `search` and no `open`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pages: Vec<Page>,
    /// Tables; none: there is no `lookup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tables: Vec<Table>,
}

/// A page of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) id: usize,
    pub(crate) title: String,
    pub(crate) text: String,
}

/// A table of keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) rows: Vec<(String, String)>,
}

impl World {
    /// Returns the JSON schemas of the tools.
    pub fn tools(&self) -> Vec<Value> {
        let function = |name: &str, description: String, properties: Value, required: &[&str]| {
            let parameters = json!({"type": "object", "properties": properties, "required": required});
            json!({"type": "function", "function": {"name": name, "description": description, "parameters": parameters}})
        };
        let mut tools = Vec::new();
        if !self.pages.is_empty() {
            let query = json!({"query": {"type": "string", "description": "a few words"}});
            tools.push(function("search", "Finds pages. Returns their ids and titles.".into(), query, &["query"]));
            let id = json!({"id": {"type": "integer", "description": "the id of a page"}});
            tools.push(function("open", "Returns the text of a page.".into(), id, &["id"]));
        }
        if !self.tables.is_empty() {
            let names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
            let properties = json!({"table": {"type": "string", "enum": names}, "key": {"type": "string", "description": "a key of the table"}});
            tools.push(function("lookup", "Returns the value of a key in a table.".into(), properties, &["table", "key"]));
        }
        tools
    }

    /// Carries out a call. What cannot be carried out gives a text that begins with `error:`; nothing fails.
    pub fn call(&self, call: &ToolCall) -> String {
        let Ok(Value::Object(arguments)) = serde_json::from_str(&call.function.arguments) else {
            return "error: the arguments are no JSON object".into();
        };
        let text = |name: &str| match arguments.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(format!("error: the argument \"{name}\" is missing")),
        };
        let result = match call.function.name.as_str() {
            "search" if !self.pages.is_empty() => text("query").map(|query| self.search(&query)),
            "open" if !self.pages.is_empty() => text("id").map(|id| self.open(&id)),
            "lookup" if !self.tables.is_empty() => text("table").and_then(|table| Ok(self.lookup(&table, &text("key")?))),
            name => Err(format!("error: there is no tool \"{name}\"")),
        };
        result.unwrap_or_else(|error| error)
    }

    /// Lists the pages that have most words of the query; words in the title count three times.
    fn search(&self, query: &str) -> String {
        let wanted = search_words(query);
        let n_in = |text: &str| {
            let words = search_words(text);
            wanted.iter().filter(|word| words.contains(word)).count()
        };
        let mut found: Vec<(usize, &Page)> =
            self.pages.iter().map(|page| (3 * n_in(&page.title) + n_in(&page.text), page)).filter(|(n, _)| *n > 0).collect();
        found.sort_by_key(|(n, page)| (std::cmp::Reverse(*n), page.id));
        if found.is_empty() {
            return "no pages found".into();
        }
        found.iter().take(MAX_FOUND).map(|(_, page)| format!("{}: {}", page.id, page.title)).collect::<Vec<_>>().join("\n")
    }

    fn open(&self, id: &str) -> String {
        let page = id.trim().parse::<usize>().ok().and_then(|id| self.pages.iter().find(|page| page.id == id));
        page.map_or_else(|| format!("error: there is no page {id}"), |page| format!("{}\n{}", page.title, page.text))
    }

    fn lookup(&self, table: &str, key: &str) -> String {
        let Some(table) = self.tables.iter().find(|other| other.name.eq_ignore_ascii_case(table.trim())) else {
            return format!("error: there is no table \"{table}\"");
        };
        let row = table.rows.iter().find(|(other, _)| other.eq_ignore_ascii_case(key.trim()));
        row.map_or_else(|| format!("error: \"{key}\" is not in the table {}", table.name), |(_, value)| value.clone())
    }

    /// The world as JSON text.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Words of three letters and more, in small letters.
fn search_words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3 && !matches!(*word, "the" | "and"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let page = |id, title: &str, text: &str| Page { id, title: title.into(), text: text.into() };
        World {
            pages: vec![page(3, "The mill of Barlow", "It is old."), page(5, "The inn of Barlow", "It stands near the mill.")],
            tables: vec![Table { name: "prices".into(), rows: vec![("red lamp".into(), "12".into())] }],
        }
    }

    #[test]
    fn calls_are_answered_and_wrong_ones_say_why() {
        for (name, arguments, expected) in [
            ("search", r#"{"query": "mill of Barlow"}"#, "3: The mill of Barlow\n5: The inn of Barlow"),
            ("search", r#"{"query": "tower"}"#, "no pages found"),
            ("open", r#"{"id": 5}"#, "The inn of Barlow\nIt stands near the mill."),
            ("open", r#"{"id": "3"}"#, "The mill of Barlow\nIt is old."),
            ("open", r#"{"id": 4}"#, "error: there is no page 4"),
            ("open", r#"{"page": 4}"#, "error: the argument \"id\" is missing"),
            ("lookup", r#"{"table": "Prices", "key": "Red lamp "}"#, "12"),
            ("lookup", r#"{"table": "prices", "key": "lamp"}"#, "error: \"lamp\" is not in the table prices"),
            ("lookup", r#"{"table": "rooms", "key": "lamp"}"#, "error: there is no table \"rooms\""),
            ("delete", "{}", "error: there is no tool \"delete\""),
            ("open", "[3]", "error: the arguments are no JSON object"),
            ("open", "{", "error: the arguments are no JSON object"),
        ] {
            assert_eq!(world().call(&ToolCall::new(name, arguments)), expected);
        }
    }

    #[test]
    fn only_tools_that_exist_are_offered() {
        let names = |world: &World| -> Vec<String> {
            world.tools().iter().map(|tool| tool["function"]["name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(&world()), ["search", "open", "lookup"]);
        assert_eq!(names(&World { pages: Vec::new(), ..world() }), ["lookup"]);
        assert_eq!(World::default().call(&ToolCall::new("search", r#"{"query": "x"}"#)), "error: there is no tool \"search\"");
    }
}
