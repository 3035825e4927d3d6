//! Loops written out, for registers that must be indexed by constants.

/// Writes out every loop of `source` whose head ends in `{ // unrolled`.
///
/// Such a loop reads `for (var i = 0u; i < NAME; i += 1u) { // unrolled` with `NAME` in `counts`, and its closing brace stands alone in a line
/// at the indent of its head. Each turn becomes a block in which `i` is a literal; loops may nest. The source is valid WGSL as it stands, so
/// that leaving this out changes the speed alone. A loop of another form, or over another name, stays a loop.
pub fn unrolled(source: &str, counts: &[(&str, u32)]) -> String {
    let mut out = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let Some((counter, count)) = head(line, counts) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let mut body = String::new();
        for inner in lines.by_ref().take_while(|inner| *inner != end) {
            body.push_str(inner);
            body.push('\n');
        }
        let body = unrolled(&body, counts);
        for turn in 0..count {
            out.push_str(indent);
            out.push_str("{\n");
            out.push_str(&replaced(&body, counter, &format!("{turn}u")));
            out.push_str(&end);
            out.push('\n');
        }
    }
    out
}

/// The counter and the number of turns of a marked loop.
fn head<'a>(line: &'a str, counts: &[(&str, u32)]) -> Option<(&'a str, u32)> {
    let inside = line.trim_start().strip_prefix("for (var ")?.strip_suffix(" { // unrolled")?;
    let (counter, rest) = inside.split_once(" = 0u; ")?;
    let name = rest.strip_prefix(counter)?.strip_prefix(" < ")?.split(';').next()?;
    counts.iter().find(|(known, _)| *known == name).map(|&(_, count)| (counter, count))
}

/// Replaces the identifier `name` wherever it stands as a whole word.
fn replaced(text: &str, name: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            out.push_str(if word == name { by } else { &word });
            word.clear();
            out.push(c);
        }
    }
    out.push_str(if word == name { by } else { &word });
    out
}

#[cfg(test)]
mod tests {
    use super::unrolled;

    #[test]
    fn marked_loops_are_written_out() {
        let source = "for (var i = 0u; i < N; i += 1u) { // unrolled\n    a[i] = bi + i;\n}\nend\n";
        assert_eq!(unrolled(source, &[("N", 2)]), "{\n    a[0u] = bi + 0u;\n}\n{\n    a[1u] = bi + 1u;\n}\nend\n");
    }

    #[test]
    fn loops_nest() {
        let inner = "    for (var j = 0u; j < M; j += 1u) { // unrolled\n        f(i, j);\n    }\n";
        let source = format!("for (var i = 0u; i < N; i += 1u) {{ // unrolled\n{inner}}}\n");
        let out = unrolled(&source, &[("N", 2), ("M", 3)]);
        for call in ["f(0u, 0u)", "f(0u, 2u)", "f(1u, 1u)"] {
            assert_eq!(out.matches(call).count(), 1, "{out}");
        }
        assert!(!out.contains("for"), "{out}");
    }

    #[test]
    fn other_loops_stay() {
        let unmarked = "for (var i = 0u; i < N; i += 1u) {\n    f(i);\n}\n";
        assert_eq!(unrolled(unmarked, &[("N", 2)]), unmarked);
        let unknown = "for (var i = 0u; i < M; i += 1u) { // unrolled\n    f(i);\n}\n";
        assert_eq!(unrolled(unknown, &[("N", 2)]), unknown);
    }
}
