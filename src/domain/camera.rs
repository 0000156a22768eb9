//! Camera ids, and how a recorder's own name for a camera becomes one.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest camera id, in bytes.
pub const CAMERA_ID_MAX_BYTES: usize = 63;

/// Longest name a recorder may give a camera, in bytes.
pub const RECORDER_NAME_MAX_BYTES: usize = 1024;

/// Hex digits of SHA-256 that tell apart recorder names with the same readable part (48 bits).
const NAME_HASH_DIGITS: usize = 12;

/// The id of a camera: a slug, `[a-z0-9][a-z0-9_-]{0,62}`.
///
/// A value of this type is safe as a file name, a folder name and a part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CameraId(String);

/// Why a text is not a camera id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CameraIdError {
    /// The text has no characters.
    #[error("a camera id must not be empty")]
    Empty,
    /// The text is longer than [`CAMERA_ID_MAX_BYTES`].
    #[error("a camera id has at most {CAMERA_ID_MAX_BYTES} characters")]
    TooLong,
    /// The first character is neither a small letter nor a digit.
    #[error("a camera id begins with a small letter a-z or a digit")]
    BadStart,
    /// A character outside `a-z`, `0-9`, `_` and `-`.
    #[error("a camera id holds only small letters a-z, digits, `_` and `-`, not {0:?}")]
    BadCharacter(char),
}

/// Why no camera id can be made of a recorder's name for a camera.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecorderNameError {
    /// The name has no characters.
    #[error("the camera name is empty")]
    Empty,
    /// The name is longer than [`RECORDER_NAME_MAX_BYTES`].
    #[error("the camera name is longer than {RECORDER_NAME_MAX_BYTES} bytes")]
    TooLong,
    /// The name holds a line break, a NUL or another control character.
    #[error("the camera name {0:?} holds a control character")]
    ControlCharacter(String),
    /// The name, or a part of it between slashes, is empty, `.` or `..`.
    #[error("the camera name {0:?} has an empty, `.` or `..` part")]
    PathStep(String),
}

impl CameraId {
    /// Reads `text` as a camera id. Nothing is trimmed or changed.
    pub fn parse(text: &str) -> Result<Self, CameraIdError> {
        let first = text.chars().next().ok_or(CameraIdError::Empty)?;
        if let Some(bad) = text.chars().find(|c| !is_slug_character(*c)) {
            return Err(CameraIdError::BadCharacter(bad));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(CameraIdError::BadStart);
        }
        if text.len() > CAMERA_ID_MAX_BYTES {
            return Err(CameraIdError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// The camera id of a recorder's own name for a camera, such as `Front Door` or `yard/north`.
    ///
    /// A name that is a slug already is kept. Any other name becomes its readable part (small
    /// letters, every run of other characters one `-`, cut to fit) followed by `-` and twelve hex
    /// digits of the SHA-256 of the whole name, because such a mapping loses something: without
    /// the digits `Front Door` and `front/door` would be one camera. The mapping depends on
    /// nothing but the name, so each import and each node gives the same id.
    ///
    /// A mapped id is itself a slug, so footage that was stored under it comes back as the same
    /// camera.
    pub fn from_recorder_name(name: &str) -> Result<Self, RecorderNameError> {
        if name.is_empty() {
            return Err(RecorderNameError::Empty);
        }
        if name.len() > RECORDER_NAME_MAX_BYTES {
            return Err(RecorderNameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(RecorderNameError::ControlCharacter(name.to_owned()));
        }
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(RecorderNameError::PathStep(name.to_owned()));
        }
        if let Ok(id) = Self::parse(name) {
            return Ok(id);
        }

        let hash = format!("{:x}", HexBytes(&Sha256::digest(name.as_bytes())));
        let hash = &hash[..NAME_HASH_DIGITS];
        let readable = readable_part(name, CAMERA_ID_MAX_BYTES - 1 - NAME_HASH_DIGITS);
        Ok(Self(format!("{readable}-{hash}")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CameraId {
    type Error = CameraIdError;

    fn try_from(text: String) -> Result<Self, CameraIdError> {
        Self::parse(&text)
    }
}

impl From<CameraId> for String {
    fn from(id: CameraId) -> Self {
        id.0
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for CameraId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

struct HexBytes<'a>(&'a [u8]);

impl fmt::LowerHex for HexBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn is_slug_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
}

/// What can be read of `name` in the characters of a slug: at most `max_bytes`, never empty,
/// beginning with a letter or a digit.
fn readable_part(name: &str, max_bytes: usize) -> String {
    let mut slug = String::with_capacity(max_bytes);
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if slug.len() == max_bytes {
            break;
        }
        let c = if is_slug_character(c) { c } else { '-' };
        let starts_badly = slug.is_empty() && !c.is_ascii_alphanumeric();
        let repeats_dash = c == '-' && slug.ends_with('-');
        if !starts_badly && !repeats_dash {
            slug.push(c);
        }
    }
    let end = slug.trim_end_matches(['-', '_']).len();
    slug.truncate(end);
    if slug.is_empty() {
        slug.push_str("camera");
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slugs_are_camera_ids_and_nothing_else_is() {
        for good in ["a", "0", "gate_a_01", "front-door", &"x".repeat(63)] {
            assert_eq!(CameraId::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", CameraIdError::Empty),
            ("-y", CameraIdError::BadStart),
            ("_a", CameraIdError::BadStart),
            ("Gate", CameraIdError::BadCharacter('G')),
            ("a b", CameraIdError::BadCharacter(' ')),
            ("..", CameraIdError::BadCharacter('.')),
            ("a/b", CameraIdError::BadCharacter('/')),
            ("a\n", CameraIdError::BadCharacter('\n')),
            ("a'b", CameraIdError::BadCharacter('\'')),
            ("\u{202e}a", CameraIdError::BadCharacter('\u{202e}')),
            (&"x".repeat(64), CameraIdError::TooLong),
        ] {
            assert_eq!(CameraId::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn mapped_names_stay_the_same_across_releases() {
        // Catalogs hold these ids; a change of the rule would split every such camera in two.
        for (name, id) in [
            ("gate_a_01", "gate_a_01"),
            ("Front Door", "front-door-15b2f1832650"),
            ("yard/north", "yard-north-a9f518f8a54b"),
            ("-y", "y-6287c641a559"),
            ("正门", "camera-2c6049412a1c"),
        ] {
            assert_eq!(
                CameraId::from_recorder_name(name).unwrap().as_str(),
                id,
                "{name:?}"
            );
        }
    }

    #[test]
    fn names_that_read_alike_stay_different_cameras() {
        let names = [
            "front-door",
            "Front-Door",
            "front door",
            "front/door",
            "front:door",
            "FRONT-DOOR",
            "caf\u{e9}",
            "cafe\u{301}",
            "\u{200f}front-door",
            "#x",
            " x ",
            "x",
            "CON",
            "con",
        ];
        let ids: std::collections::HashSet<_> = names
            .iter()
            .map(|name| CameraId::from_recorder_name(name).unwrap())
            .collect();
        assert_eq!(ids.len(), names.len());
    }

    #[test]
    fn names_that_climb_or_break_lines_are_refused() {
        for name in ["..", "../../etc", "/abs", ".", "a//b", "a/../b", "a/"] {
            assert_eq!(
                CameraId::from_recorder_name(name),
                Err(RecorderNameError::PathStep(name.to_owned()))
            );
        }
        for name in ["a\nb", "a\0b", "\u{7f}"] {
            assert_eq!(
                CameraId::from_recorder_name(name),
                Err(RecorderNameError::ControlCharacter(name.to_owned()))
            );
        }
        assert_eq!(
            CameraId::from_recorder_name(""),
            Err(RecorderNameError::Empty)
        );
        assert_eq!(
            CameraId::from_recorder_name(&"x".repeat(1025)),
            Err(RecorderNameError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn every_mapped_name_is_a_camera_id_that_maps_to_itself(name in "\\PC{1,400}") {
            if let Ok(id) = CameraId::from_recorder_name(&name) {
                prop_assert_eq!(CameraId::parse(id.as_str()), Ok(id.clone()));
                prop_assert_eq!(CameraId::from_recorder_name(id.as_str()), Ok(id));
            }
        }

        #[test]
        fn two_names_never_share_an_id(a in "[ -~]{1,80}", b in "[ -~]{1,80}") {
            prop_assume!(a != b);
            if let (Ok(id_a), Ok(id_b)) =
                (CameraId::from_recorder_name(&a), CameraId::from_recorder_name(&b))
            {
                prop_assert_ne!(id_a, id_b);
            }
        }
    }
}
