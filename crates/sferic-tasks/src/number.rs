//! Exact decimal numbers, and where they stand in a text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// More digits than this are no number of ours; any 18 digits fit into 64 bits.
const MAX_DIGITS: usize = 18;

/// A decimal number without rounding: `digits · 10^-n_decimals`, without trailing zeros behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Decimal {
    digits: i64,
    n_decimals: u8,
}

impl Decimal {
    /// Makes `digits · 10^-n_decimals`: `Decimal::new(125, 1)` is 12.5.
    pub fn new(digits: i64, n_decimals: u8) -> Self {
        let (mut digits, mut n_decimals) = (digits, n_decimals);
        while n_decimals > 0 && digits % 10 == 0 {
            digits /= 10;
            n_decimals -= 1;
        }
        Self { digits, n_decimals }
    }

    /// Reads a number that fills the whole text: `-1,234.50`, `.5`, `7.`.
    pub fn parse(text: &str) -> Option<Self> {
        let found = spans(text);
        match found.as_slice() {
            [one] if one.range == (0, text.trim_end_matches('.').len()) => one.value,
            _ => None,
        }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self::new(number, 0)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.n_decimals == 0 {
            return write!(f, "{}", self.digits);
        }
        let sign = if self.digits < 0 { "-" } else { "" };
        let width = usize::from(self.n_decimals) + 1;
        let padded = format!("{:0>width$}", self.digits.unsigned_abs());
        let (whole, decimals) = padded.split_at(padded.len() - usize::from(self.n_decimals));
        write!(f, "{sign}{whole}.{decimals}")
    }
}

impl From<Decimal> for String {
    fn from(number: Decimal) -> Self {
        number.to_string()
    }
}

impl TryFrom<String> for Decimal {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no decimal number"))
    }
}

/// Returns the one number that a text states, `None` if it states none or several different ones.
///
/// Digits with a sign, commas between groups of three and decimals; signs of currency, per cent and units around them are no
/// part of them. A number inside a word (`x7`) is none. Only where there are no digits at all, words count: `twenty-one`.
pub(crate) fn only_number(text: &str) -> Option<Decimal> {
    let found = spans(text);
    if found.is_empty() && !text.contains(|letter: char| letter.is_ascii_digit()) {
        return only(&spelled_numbers(text));
    }
    let values: Option<Vec<Decimal>> = found.into_iter().map(|span| span.value).collect();
    only(&values?)
}

/// Returns the one value that all items have.
fn only(values: &[Decimal]) -> Option<Decimal> {
    let first = *values.first()?;
    values.iter().all(|value| *value == first).then_some(first)
}

/// A number in a text: start and end in bytes; no value if it has too many digits.
struct Span {
    range: (usize, usize),
    value: Option<Decimal>,
}

fn spans(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let byte = |idx: usize| bytes.get(idx).copied().unwrap_or(b' ');
    let is_digit = |idx: usize| byte(idx).is_ascii_digit();
    let mut found = Vec::new();
    let mut idx = 0;
    while idx < bytes.len() {
        let before = if idx == 0 { b' ' } else { byte(idx - 1) };
        let starts = is_digit(idx) || (byte(idx) == b'.' && is_digit(idx + 1));
        if !starts || is_word(before) {
            idx += 1;
            continue;
        }
        let (end, digits, n_decimals) = digits_at(bytes, idx);
        let signed = before == b'-' && (idx < 2 || !(is_word(byte(idx - 2)) || byte(idx - 2) == b')'));
        let value = (digits.len() <= MAX_DIGITS).then(|| digits.parse::<i64>().ok()).flatten();
        let value = value.map(|value| Decimal::new(if signed { -value } else { value }, n_decimals as u8));
        found.push(Span { range: (idx - usize::from(signed), end), value });
        idx = end;
    }
    found
}

/// Letters, digits and bytes of other scripts: behind one of them a digit belongs to a word.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Reads digits from `start`: where they end, the digits alone, and how many are decimals.
fn digits_at(bytes: &[u8], start: usize) -> (usize, String, usize) {
    let is_digit = |idx: usize| bytes.get(idx).is_some_and(u8::is_ascii_digit);
    let run = |from: usize| (from..).take_while(|&idx| is_digit(idx)).count();
    let mut end = start + run(start);
    if (1..=3).contains(&(end - start)) {
        while bytes.get(end) == Some(&b',') && run(end + 1) == 3 {
            end += 4;
        }
    }
    let mut n_decimals = 0;
    if bytes.get(end) == Some(&b'.') && is_digit(end + 1) {
        n_decimals = run(end + 1);
        end += 1 + n_decimals;
    }
    let digits = bytes.get(start..end).unwrap_or_default().iter().filter(|byte| byte.is_ascii_digit());
    (end, digits.map(|&byte| char::from(byte)).collect(), n_decimals)
}

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Returns the numbers below a hundred that are written as words.
fn spelled_numbers(text: &str) -> Vec<Decimal> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    let mut numbers = Vec::new();
    let mut word_idx = 0;
    while let Some(word) = words.get(word_idx) {
        word_idx += 1;
        if let Some(unit) = UNITS.iter().position(|unit| unit == word) {
            numbers.push(Decimal::from(unit as i64));
        } else if let Some(ten) = TENS.iter().position(|ten| ten == word) {
            let unit = words.get(word_idx).and_then(|next| UNITS.iter().take(10).skip(1).position(|unit| unit == next));
            word_idx += usize::from(unit.is_some());
            numbers.push(Decimal::from((ten as i64 + 2) * 10 + unit.map_or(0, |unit| unit as i64 + 1)));
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_read_however_it_is_written() {
        for (text, expected) in [
            ("42", Some((42, 0))),
            ("She has 42 apples left.", Some((42, 0))),
            ("$1,234.50", Some((12345, 1))),
            ("-7", Some((-7, 0))),
            ("20 %", Some((20, 0))),
            ("7.0", Some((7, 0))),
            ("x = 7.", Some((7, 0))),
            (".5", Some((5, 1))),
            ("12kg, so 12", Some((12, 0))),
            ("seven", Some((7, 0))),
            ("It is twenty-one.", Some((21, 0))),
            ("forty", Some((40, 0))),
            ("3 and 4", None),
            ("12,34", None),
            ("10-3", None),
            ("x7", None),
            ("1234567890123456789", None),
            ("", None),
        ] {
            let expected = expected.map(|(digits, n_decimals)| Decimal::new(digits, n_decimals));
            assert_eq!(only_number(text), expected, "{text}");
        }
    }

    #[test]
    fn a_number_is_written_as_it_is_read() {
        for (number, text) in [
            (Decimal::new(125, 1), "12.5"),
            (Decimal::new(-5, 2), "-0.05"),
            (Decimal::new(100, 2), "1"),
            (Decimal::new(0, 3), "0"),
            (Decimal::from(-30), "-30"),
        ] {
            assert_eq!(number.to_string(), text);
            assert_eq!(Decimal::parse(text), Some(number));
        }
        assert_eq!(Decimal::parse("7 apples"), None);
    }
}
