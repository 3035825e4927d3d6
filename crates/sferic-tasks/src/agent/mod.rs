//! Tasks with tools: a store of pages that can be searched and opened, and tables to look things up in.

mod chain;
mod environment;
mod table;
mod village;
mod world;

use sferic_text::{Message, ToolCall};

use crate::check::Check;
use crate::form::Form;
use crate::generator::{Draft, Generator, Problem, thought};
use crate::random::Draws;
use crate::task::Domain::Agent;

pub use environment::{Environment, Limits, Step};
pub use world::World;

pub(crate) const GENERATORS: &[Generator] = &[
    Generator::new(Agent, "table", 3, table::table),
    Generator::new(Agent, "table_absent", 2, table::table_absent),
    Generator::new(Agent, "search", 3, chain::search),
    Generator::new(Agent, "search_table", 3, chain::search_table),
];

/// A call of the scripted expert, with the thought before it.
struct Move {
    thinking: String,
    call: ToolCall,
}

impl Move {
    fn search(thinking: impl Into<String>, query: &str) -> Self {
        Self { thinking: thinking.into(), call: ToolCall::new("search", format!("{{\"query\": {}}}", quoted(query))) }
    }

    fn open(thinking: impl Into<String>, id: usize) -> Self {
        Self { thinking: thinking.into(), call: ToolCall::new("open", format!("{{\"id\": {id}}}")) }
    }

    fn lookup(thinking: impl Into<String>, table: &str, key: &str) -> Self {
        let arguments = format!("{{\"table\": {}, \"key\": {}}}", quoted(table), quoted(key));
        Self { thinking: thinking.into(), call: ToolCall::new("lookup", arguments) }
    }
}

/// Writes a text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Problem {
    /// Makes a task in a world: the expert's moves are played, and their results stand in the reference.
    fn in_world(self, draws: &mut Draws, world: World, moves: Vec<Move>) -> Draft {
        let mut draft = match self.check {
            Check::Absent => {
                Draft { form: Form::Free, ..Draft::new(self.key, self.question, self.thinking, self.sentence, self.check) }
            }
            _ => self.draft(draws),
        };
        let last = std::mem::take(&mut draft.reference);
        for Move { thinking, call } in moves {
            let result = world.call(&call);
            draft.reference.push(Message { tool_calls: vec![call], ..thought(thinking, "") });
            draft.reference.push(Message::tool(result));
        }
        draft.reference.extend(last);
        draft.tools = world.tools();
        draft.world = Some(world);
        draft
    }
}
