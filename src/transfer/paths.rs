//! Paths at a place, and names of files that are not whole yet.

use std::io;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Longest name that file systems take, in bytes.
const LONGEST_NAME_BYTES: usize = 255;
/// What follows the name in that of an unfinished file: two dots, a random part and `part`.
const SUFFIX_BYTES: usize = 1 + RANDOM_DIGITS + ".part".len();
const RANDOM_DIGITS: usize = 16;

/// Whether `path` is one that a place may be asked for: names with `/` between them, none of which is empty, `.` or
/// `..`, longer than file systems take, or has a control character.
pub fn is_plain(path: &str) -> bool {
    path.split('/').all(|name| {
        !matches!(name, "" | "." | "..")
            && name.len() <= LONGEST_NAME_BYTES
            && !name.chars().any(char::is_control)
    })
}

/// Whether the last name of `path` is one that a transfer uses until a file is whole. Such a file was left by a transfer
/// that was killed, or is being written at this moment.
pub fn is_unfinished(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let before = |suffix: &str| name.strip_suffix(suffix)?.rsplit_once('.');
    let ours = before(".part")
        .is_some_and(|(stem, random)| stem.starts_with('.') && has_digits(random, RANDOM_DIGITS));
    // The name that rclone gives; its digits are 8.
    let rclones = before(".partial").is_some_and(|(_, random)| has_digits(random, 8));
    ours || rclones
}

/// Whether `text` could come from [`random_name`].
pub(super) fn is_random_name(text: &str) -> bool {
    has_digits(text, RANDOM_DIGITS)
}

fn has_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A name of somebody else, with its control characters made visible.
pub(super) fn shown(path: &str) -> String {
    path.chars().fold(String::new(), |mut text, c| {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
        text
    })
}

/// The name of `name` until its file is whole.
pub(super) fn unfinished_name(name: &str) -> io::Result<String> {
    let most = LONGEST_NAME_BYTES - 1 - SUFFIX_BYTES;
    let mut end = name.len().min(most);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Ok(format!(".{}.{}.part", &name[..end], random_name()?))
}

/// A name that nobody else has: 16 hexadecimal digits.
pub(super) fn random_name() -> io::Result<String> {
    let mut random = [0; 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_plain() {
        for path in ["a", "a/b.mp4", "-y.mp4", "a b/#x", ".hidden", "…/x"] {
            assert!(is_plain(path), "{path}");
        }
        let long = "x".repeat(256);
        for path in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\nb", "a\0b", &long,
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn control_characters_of_names_are_shown() {
        assert_eq!(shown("a/b ä.mp4"), "a/b ä.mp4");
        assert_eq!(shown("a\nb\u{1b}"), "a\\nb\\u{1b}");
    }

    #[test]
    fn unfinished_names_are_known_and_not_too_long() {
        for name in ["a.mp4", &"ä".repeat(127)] {
            let unfinished = unfinished_name(name).unwrap();
            assert!(unfinished.len() <= LONGEST_NAME_BYTES);
            assert!(is_unfinished(&unfinished), "{unfinished}");
            assert!(is_unfinished(&format!("cam/{unfinished}")));
        }
        assert!(is_unfinished("cam/a.mp4.1234abcd.partial"));
        for name in ["a.mp4", ".a.part", "cam/a.partial", "x.1234abcd.partial/a"] {
            assert!(!is_unfinished(name), "{name}");
        }
    }
}
