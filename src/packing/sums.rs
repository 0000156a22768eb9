//! SHA256SUMS: the hashes of all entries before it, in the format of `sha256sum` (GNU coreutils manual, "md5sum
//! invocation"): 64 hexadecimal digits, two spaces, the name, a line break.

use std::fmt::Write as _;

use crate::hashing::Sha256;

/// Name of the entry with the hashes.
pub const SUMS_NAME: &str = "SHA256SUMS";

/// Name of the entry with the signature of the hashes.
pub const SIGNATURE_NAME: &str = "SHA256SUMS.sig";

/// Room for some two million entries.
pub(super) const SUMS_BYTES_MAX: u64 = 256 * 1024 * 1024;

const DIGITS: usize = 64;

/// Appends the line of an entry. The name is one of `domain::entry_name`, so that nothing in it must be escaped.
pub fn sums_line(sums: &mut String, sha256: &Sha256, name: &str) {
    sums.push_str(&hex(sha256));
    sums.push_str("  ");
    sums.push_str(name);
    sums.push('\n');
}

/// Length of the line of an entry, bytes.
pub fn sums_line_bytes(name: &str) -> u64 {
    (DIGITS + "  \n".len() + name.len()) as u64
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A string takes everything.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Why a text is not SHA256SUMS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SumsError {
    /// A line without digest and name.
    #[error("line {line} is not a hash and a name")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A name has two hashes.
    #[error("line {line} names an entry for the second time")]
    Twice {
        /// Number of the line, from 1.
        line: usize,
    },
    /// Bytes that are no text, or a last line that was cut off.
    #[error("it is no text of whole lines")]
    NoText,
}

/// The hashes by name. They stay in the text: of each line, only where it begins is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sums<'a> {
    text: &'a str,
    /// Where each line begins, in the order of the names.
    lines: Vec<u32>,
}

impl<'a> Sums<'a> {
    /// Reads what [`sums_line`] wrote, and nothing else that `sha256sum` would take.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, SumsError> {
        let text = std::str::from_utf8(text).map_err(|_| SumsError::NoText)?;
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(SumsError::NoText);
        }
        let mut lines = Vec::new();
        let mut at = 0;
        for (index, line) in text.split_terminator('\n').enumerate() {
            if parse_line(line).is_none() {
                // What is wrong first is told.
                sort(text, &mut lines)?;
                return Err(SumsError::Line { line: index + 1 });
            }
            lines.push(u32::try_from(at).map_err(|_| SumsError::NoText)?);
            at += line.len() + 1;
        }
        sort(text, &mut lines)?;
        Ok(Self { text, lines })
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The place of a name among all in order.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.lines
            .binary_search_by_key(&name, |at| name_at(self.text, *at))
            .ok()
    }

    pub(super) fn get(&self, name: &str) -> Option<Sha256> {
        let found = self.place_of(name)?;
        let digits = self.text.get(self.lines[found] as usize..)?.get(..DIGITS)?;
        parse_sha256(digits)
    }

    /// All names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.lines.iter().map(|at| name_at(self.text, *at))
    }
}

/// Puts lines in the order of their names, which must differ.
fn sort(text: &str, lines: &mut [u32]) -> Result<(), SumsError> {
    lines.sort_unstable_by_key(|at| (name_at(text, *at), *at));
    let is_twice = |pair: &&[u32]| name_at(text, pair[0]) == name_at(text, pair[1]);
    let second = lines.windows(2).filter(is_twice).map(|pair| pair[1]).min();
    second.map_or(Ok(()), |at| {
        let line = 1 + text[..at as usize].matches('\n').count();
        Err(SumsError::Twice { line })
    })
}

/// The name in the line that begins there, which [`parse_line`] has read.
fn name_at(text: &str, at: u32) -> &str {
    let rest = text.get(at as usize + DIGITS + "  ".len()..);
    rest.and_then(|rest| rest.split('\n').next())
        .unwrap_or_default()
}

fn parse_line(line: &str) -> Option<(&str, Sha256)> {
    let (digits, rest) = line.split_at_checked(DIGITS)?;
    let name = rest.strip_prefix("  ")?;
    let is_plain = !name.is_empty() && !name.chars().any(|c| c.is_control() || c == '\\');
    let sha256 = parse_sha256(digits)?;
    is_plain.then_some((name, sha256))
}

/// The hash of 64 lower-case hexadecimal digits, and of nothing else.
pub fn parse_sha256(digits: &str) -> Option<Sha256> {
    if digits.len() != DIGITS {
        return None;
    }
    let mut sha256 = Sha256::default();
    for (byte, pair) in sha256.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(sha256)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Sums, SumsError, hex, parse_sha256, sums_line, sums_line_bytes};

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_hash_is_64_lower_case_digits_and_nothing_else() {
        assert_eq!(
            parse_sha256(HASH).map(|sha256| hex(&sha256)).as_deref(),
            Some(HASH)
        );
        for text in [
            String::new(),
            HASH[1..].to_owned(),
            HASH.to_uppercase(),
            format!("+{}", &HASH[1..]),
            "é".repeat(32),
        ] {
            assert_eq!(parse_sha256(&text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut text = String::new();
        sums_line(&mut text, &[0xab; 32], "gate/a b.mp4");
        sums_line(&mut text, &[1; 32], "ü");
        assert!(text.starts_with("abababab"));
        let lines_bytes = sums_line_bytes("gate/a b.mp4") + sums_line_bytes("ü");
        assert_eq!(lines_bytes, text.len() as u64);
        let sums = Sums::parse(text.as_bytes()).unwrap();
        assert_eq!(sums.get("gate/a b.mp4"), Some([0xab; 32]));
        assert_eq!(sums.get("ü"), Some([1; 32]));
        assert_eq!(sums.names().count(), 2);
    }

    #[test]
    fn other_forms_are_refused_by_line() {
        let good = format!("{HASH}  a\n");
        for bad in [
            format!("\\{HASH}  a\\nb\n"),
            format!("{HASH}  a\\b\n"),
            format!("{HASH} *b\n"),
            format!("{HASH}  \n"),
            format!("{HASH}  b\r\n"),
            format!("{}  b\n", HASH.to_uppercase()),
            format!("{}  b\n", &HASH[1..]),
            format!("{}ü  b\n", &HASH[1..]),
            "\n".to_owned(),
        ] {
            let text = format!("{good}{bad}");
            assert_eq!(
                Sums::parse(text.as_bytes()),
                Err(SumsError::Line { line: 2 }),
                "{bad}"
            );
        }
        let twice = format!("{good}{good}");
        assert_eq!(
            Sums::parse(twice.as_bytes()),
            Err(SumsError::Twice { line: 2 })
        );
        assert_eq!(
            Sums::parse(good.trim_end().as_bytes()),
            Err(SumsError::NoText)
        );
        assert_eq!(Sums::parse(&[0xff, b'\n']), Err(SumsError::NoText));
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_written_again(text in "([0-9a-f]{64}  [a-z/.ü]{0,4}\n){0,3}|\\PC*") {
            if let Ok(sums) = Sums::parse(text.as_bytes()) {
                let lines = text.lines().count();
                prop_assert_eq!(sums.names().count(), lines);
                for line in text.lines() {
                    let (digits, name) = line.split_once("  ").unwrap();
                    prop_assert_eq!(hex(&sums.get(name).unwrap()), digits);
                }
            }
        }
    }
}
