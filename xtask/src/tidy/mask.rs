//! Separates the code of a Rust or WGSL file from its comments and literals.

/// One source text twice, both of the same length and with the same line breaks as the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Masked {
    /// Comments and the insides of string and character literals are blank.
    pub(super) code: String,
    /// Everything but the comments is blank.
    pub(super) comments: String,
}

/// Blanks what is not code in one copy and what is not comment in the other.
pub(super) fn mask(source: &str) -> Masked {
    let mut masker = Masker {
        bytes: source.as_bytes(),
        position: 0,
        code: Vec::with_capacity(source.len()),
        comments: Vec::with_capacity(source.len()),
    };
    while masker.position < masker.bytes.len() {
        masker.step();
    }
    Masked {
        code: String::from_utf8_lossy(&masker.code).into_owned(),
        comments: String::from_utf8_lossy(&masker.comments).into_owned(),
    }
}

/// Returns for each line whether it belongs to an item behind `#[cfg(test)]`.
pub(super) fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count() + 1];
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start + "#[cfg(test)]".len());
        let first_line = line_of(code, start) - 1;
        let last_line = line_of(code, end) - 1;
        for line in lines.iter_mut().take(last_line + 1).skip(first_line) {
            *line = true;
        }
        from = end.max(start + 1);
    }
    lines
}

/// Returns the line, counted from 1, of a byte position.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes()[..position.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Returns the position behind the item that starts at `start` in masked code: behind its body, or behind its semicolon if it has none.
///
/// Attributes are passed over because their brackets are nested; a brace or semicolon counts only outside parentheses and brackets.
pub(super) fn item_end(code: &str, start: usize) -> usize {
    let bytes = code.as_bytes();
    let mut brackets = 0usize;
    let mut braces = 0usize;
    for (position, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && brackets == 0 {
                    return position + 1;
                }
            }
            b';' if braces == 0 && brackets == 0 => return position + 1,
            _ => {}
        }
    }
    bytes.len()
}

struct Masker<'a> {
    bytes: &'a [u8],
    position: usize,
    code: Vec<u8>,
    comments: Vec<u8>,
}

impl Masker<'_> {
    fn step(&mut self) {
        let rest = &self.bytes[self.position..];
        if rest.starts_with(b"//") {
            let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            self.take_comment(length);
        } else if rest.starts_with(b"/*") {
            self.take_comment(block_comment_length(rest));
        } else if let Some(length) = self.raw_string_length() {
            self.take_literal(length);
        } else if rest[0] == b'"' {
            self.take_literal(quoted_length(rest, b'"'));
        } else if rest[0] == b'\'' && is_character(rest) {
            self.take_literal(quoted_length(rest, b'\''));
        } else {
            self.code.push(rest[0]);
            self.comments.push(blank(rest[0]));
            self.position += 1;
        }
    }

    fn take_comment(&mut self, length: usize) {
        for &byte in &self.bytes[self.position..self.position + length] {
            self.comments.push(byte);
            self.code.push(blank(byte));
        }
        self.position += length;
    }

    fn take_literal(&mut self, length: usize) {
        for &byte in &self.bytes[self.position..self.position + length] {
            self.comments.push(blank(byte));
            self.code.push(blank(byte));
        }
        self.position += length;
    }

    /// Returns the length of the raw string that starts here, `r"…"` or `r##"…"##`, if one does.
    fn raw_string_length(&self) -> Option<usize> {
        let rest = &self.bytes[self.position..];
        // `br"…"` and `cr"…"` are raw strings too; any other letter in front makes the `r` the end of a name.
        let before = self.position.checked_sub(1).map(|position| self.bytes[position]);
        if rest[0] != b'r' || before.is_some_and(|byte| is_name(byte) && byte != b'b' && byte != b'c') {
            return None;
        }
        let n_hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
        if rest.get(1 + n_hashes) != Some(&b'"') {
            return None;
        }
        let mut end = vec![b'"'];
        end.resize(1 + n_hashes, b'#');
        let body = &rest[2 + n_hashes..];
        let body_length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
        Some((2 + n_hashes + body_length + end.len()).min(rest.len()))
    }
}

fn blank(byte: u8) -> u8 {
    if byte == b'\n' { b'\n' } else { b' ' }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Block comments nest, in Rust and in WGSL.
fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut position = 0;
    while position < rest.len() {
        if rest[position..].starts_with(b"/*") {
            depth += 1;
            position += 2;
        } else if rest[position..].starts_with(b"*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += 1;
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut position = 1;
    while position < rest.len() {
        match rest[position] {
            b'\\' => position += 2,
            byte if byte == quote => return position + 1,
            _ => position += 1,
        }
    }
    rest.len()
}

/// Tells a character literal from a lifetime: the closing quote follows an escape or exactly one character.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        None | Some(b'\'') => false,
        Some(b'\\') => true,
        Some(&first) => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            rest.get(1 + width) == Some(&b'\'')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_leave_the_code() {
        let source = "let a = \"x // {\"; // c {\nlet b = r#\"y \" {\"#; /* d /* e */ { */ let c = '{';";
        let masked = mask(source);
        assert_eq!(masked.code.len(), source.len());
        assert!(!masked.code.contains('{'), "{}", masked.code);
        assert!(masked.code.contains("let c ="));
        assert!(masked.comments.contains("// c {") && masked.comments.contains("/* d /* e */ { */"));
        assert!(!masked.comments.contains("let") && !masked.comments.contains('x'));
    }

    #[test]
    fn lifetimes_and_raw_names_stay_code() {
        let masked = mask("fn f<'a>(r#type: &'a str, c: char) -> bool { c == 'ß' || c == '\\'' }");
        assert!(masked.code.contains("fn f<'a>(r#type: &'a str, c: char)"));
        assert!(!masked.code.contains('ß'));
        assert!(masked.code.ends_with('}'));
    }

    #[test]
    fn lines_behind_cfg_test_are_found() {
        let lines = test_lines(
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n",
        );
        let marked: Vec<usize> = (0..lines.len()).filter(|&line| lines[line]).map(|line| line + 1).collect();
        assert_eq!(marked, [2, 3, 4, 5, 6, 8, 9]);
    }
}
