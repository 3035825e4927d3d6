//! How long files and functions may be.

use super::mask::{item_end, line_of, mask};
use super::{Finding, Tree};

const SOURCE: &[&str] = &["rs", "wgsl", "ts", "js", "css", "html"];
const MAX_FILE_LINES: usize = 800;
const LISTED_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 100;
const LISTED_FUNCTION_LINES: usize = 60;
/// WGSL has no closures and no references to workgroup memory, so what a Rust function would hand on stays in one function.
const WGSL_FACTOR: f64 = 1.5;

/// Finds source files above 800 lines and Rust functions above 100, WGSL functions above 150.
pub fn lengths(tree: &Tree) -> Vec<Finding> {
    longer_than(tree, MAX_FILE_LINES, MAX_FUNCTION_LINES)
}

/// Lists source files above 500 lines and functions above 60: allowed, and worth a look.
pub fn getting_long(tree: &Tree) -> Vec<Finding> {
    longer_than(tree, LISTED_FILE_LINES, LISTED_FUNCTION_LINES)
}

fn longer_than(tree: &Tree, max_file_lines: usize, max_function_lines: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(SOURCE) {
        let n_lines = text.lines().count();
        if n_lines > max_file_lines {
            findings.push(Finding::of_file(path, format!("{n_lines} lines, more than {max_file_lines}: split the file")));
        }
    }
    for (path, text) in tree.texts(&["rs", "wgsl"]) {
        let is_wgsl = path.ends_with(".wgsl");
        let max_function_lines = if is_wgsl { (max_function_lines as f64 * WGSL_FACTOR) as usize } else { max_function_lines };
        for function in functions(&mask(text).code) {
            if function.n_lines > max_function_lines {
                let message =
                    format!("fn {} has {} lines, more than {max_function_lines}: split it", function.name, function.n_lines);
                findings.push(Finding::at(path, function.line, message));
            }
        }
    }
    findings
}

struct Function {
    name: String,
    line: usize,
    n_lines: usize,
}

fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("fn ") {
        let start = from + found;
        from = start + "fn ".len();
        let starts_a_word = !code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let name: String =
            code[from..].trim_start().chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect();
        if starts_a_word && !name.is_empty() {
            let line = line_of(code, start);
            let last_line = line_of(code, item_end(code, start) - 1);
            functions.push(Function { name, line, n_lines: last_line - line + 1 });
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_and_a_long_function_are_found() {
        let body = "    let x = 1;\n".repeat(99);
        let long = format!("fn short() {{}}\n\nfn long(a: [u8; 3]) -> u8 {{\n{body}}}\n");
        let file = "\n".repeat(801);
        let tree = Tree::from_texts(&[("src/a.rs", &long), ("src/b.wgsl", &file), ("notes.md", &file)]);
        let found: Vec<String> = lengths(&tree).iter().map(Finding::to_string).collect();
        assert_eq!(
            found,
            [
                "src/b.wgsl: 801 lines, more than 800: split the file",
                "src/a.rs:3: fn long has 101 lines, more than 100: split it"
            ]
        );
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let body = "    let x = 1;\n".repeat(98);
        let function = format!("fn long() {{\n{body}}}\n");
        let file = "\n".repeat(800);
        let tree = Tree::from_texts(&[("src/a.rs", &function), ("src/b.rs", &file)]);
        assert_eq!(lengths(&tree), []);
        assert_eq!(getting_long(&tree).len(), 2);
    }

    #[test]
    fn braces_in_literals_and_comments_do_not_count() {
        let code = mask("fn a() { let b = \"}\"; // }\n let c = '}';\n}\nfn d();\n").code;
        let lengths: Vec<(String, usize)> =
            functions(&code).into_iter().map(|function| (function.name, function.n_lines)).collect();
        assert_eq!(lengths, [("a".to_owned(), 3), ("d".to_owned(), 1)]);
    }
}
