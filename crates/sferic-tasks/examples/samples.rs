//! Prints two tasks of every level of every generator as Markdown: a sheet to read.
//!
//! `cargo run --release --package sferic-tasks --example samples [NAME] [SEED]`

use sferic_tasks::{Generator, PlainFiller, Result, Setting, Task};
use sferic_text::Role;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let seed = arguments.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let setting = Setting::characters(PlainFiller, 8000);
    println!("# Samples");
    for generator in Generator::all() {
        if name.as_ref().is_some_and(|name| name != generator.name) {
            continue;
        }
        println!("\n## {}: {}", generator.domain, generator.name);
        // Two of every level where one generator is asked for, else one of the first and one of the last.
        let levels: Vec<u8> = if name.is_some() {
            (1..=generator.n_levels).flat_map(|level| [level, level]).collect()
        } else {
            vec![1, generator.n_levels]
        };
        for (idx, level) in levels.into_iter().enumerate() {
            print_task(&generator.task(level, seed + idx as u64, &setting)?);
        }
    }
    Ok(())
}

fn print_task(task: &Task) {
    println!("\n### Level {} (`{}`)\n", task.level, task.id);
    if let Some(document) = &task.document {
        let n_characters = document.chars().count();
        let shown: String = document.chars().take(700).collect();
        println!(
            "Document of {n_characters} characters:\n\n```text\n{shown}{}\n```\n",
            if n_characters > 700 { " [...]" } else { "" }
        );
    }
    for message in task.messages.iter().chain(&task.reference) {
        let speaker = match message.role {
            Role::User => "User",
            Role::Assistant => "Assistant",
            Role::Tool => "Tool",
            _ => "System",
        };
        println!("**{speaker}**\n");
        if let Some(thinking) = &message.reasoning_content {
            println!("> {thinking}\n");
        }
        for call in &message.tool_calls {
            println!("`{}({})`\n", call.function.name, call.function.arguments);
        }
        if !message.text().is_empty() {
            println!("```text\n{}\n```\n", message.text());
        }
    }
    println!("Hidden answer: `{}`", task.check.answer().replace('\n', " "));
}
