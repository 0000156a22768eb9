//! Path templates: where under its root a recorder puts a segment, and what the path says of it.

use std::fmt;

use super::file_name::VIDEO_EXTENSIONS;

/// Longest template and longest relative path, in bytes.
pub const PATH_MAX_BYTES: usize = 1024;

/// Most fields `{camera}`, `%path` and `{any}` of one template. Each multiplies the ways in which a
/// path may fit, so the limit bounds the work that a hostile name can cause.
const OPEN_FIELDS_MAX: usize = 8;

/// How the paths of a source are built, relative to its root.
///
/// A template is text with fields:
///
/// | field | matches |
/// |---|---|
/// | `%Y` `%m` `%d` `%H` `%M` `%S` | parts of a time, as in strftime, with leading zeros |
/// | `%F`, `%T` | `%Y-%m-%d`, `%H:%M:%S` |
/// | `%f` | six digits of microseconds |
/// | `%z` | offset from UTC: `Z`, `+0100` or `+01:00` |
/// | `%s`, `{unix_us}` | time since the Unix epoch: ten digits of seconds, sixteen of microseconds |
/// | `{camera}` | the recorder's name for the camera: one step of the path, or a part of one |
/// | `%path` | the same, over any number of steps (MediaMTX) |
/// | `{duration_ms}` | the length of the segment in milliseconds |
/// | `{any}` | anything within one step |
/// | `%%` | a percent sign |
///
/// A template whose last step names no extension takes each of
/// [`VIDEO_EXTENSIONS`]. `{camera}`, `%path` and `{any}` take as little as
/// lets the rest of the path fit. A template without a camera is for a source of one camera.
///
/// A source may have several templates; the first that fits a path is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pub(super) alternatives: Vec<Vec<Token>>,
    text: String,
}

/// Why a text is no path template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No template was given.
    #[error("a path template must not be empty")]
    Empty,
    /// The template is longer than [`PATH_MAX_BYTES`].
    #[error("a path template has at most {PATH_MAX_BYTES} bytes")]
    TooLong,
    /// The template begins or ends with a slash, or has an empty, `.` or `..` step.
    #[error(
        "a path template is relative to the root of its source, without empty, `.` or `..` steps"
    )]
    NotBeneathRoot,
    /// The template holds a line break, a NUL or another control character.
    #[error("a path template must not hold control characters")]
    ControlCharacter,
    /// A field that is not known.
    #[error(
        "unknown field {0:?}: known are %Y %m %d %H %M %S %F %T %f %z %s %path %% {{camera}} {{unix_us}} {{duration_ms}} {{any}}"
    )]
    UnknownField(String),
    /// The camera is named twice.
    #[error("a path template names the camera once")]
    CameraTwice,
    /// More fields of open length than any recorder needs.
    #[error("a path template has at most {OPEN_FIELDS_MAX} fields {{camera}}, %path and {{any}}")]
    TooManyOpenFields,
    /// A field of open length is followed by another field, so where it ends cannot be told.
    #[error("{0} must be followed by plain text or the end of the template")]
    NoSeparator(&'static str),
    /// The fields do not state a time down to the minute.
    #[error(
        "a path template needs a time: %s, {{unix_us}}, or all of %Y %m %d %H %M and, unless files start on whole minutes, %S"
    )]
    NoTime,
    /// The extension is not one of a container that can hold a segment.
    #[error("extension {0:?} is not one of {known}", known = VIDEO_EXTENSIONS.join(", "))]
    UnknownExtension(String),
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Text that stands in the path as it is.
    Literal(String),
    /// A name of open length: at least one character, within one step unless it is `%path`.
    Open(Open),
    /// Digits or an offset with a meaning.
    Field(Field),
    /// A dot and one of the known extensions, at the end.
    Extension,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Camera,
    CameraSteps,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Microsecond,
    /// Seconds east of UTC.
    Offset,
    UnixSeconds,
    UnixMicroseconds,
    DurationMs,
}

impl Field {
    /// How the field is written in a template.
    pub(super) fn spelling(self) -> &'static str {
        match self {
            Self::Year => "%Y",
            Self::Month => "%m",
            Self::Day => "%d",
            Self::Hour => "%H",
            Self::Minute => "%M",
            Self::Second => "%S",
            Self::Microsecond => "%f",
            Self::Offset => "%z",
            Self::UnixSeconds => "%s",
            Self::UnixMicroseconds => "{unix_us}",
            Self::DurationMs => "{duration_ms}",
        }
    }
}

impl PathTemplate {
    /// Reads one template. A leading `./`, which recorders allow in their settings, is dropped.
    pub fn parse(template: &str) -> Result<Self, TemplateError> {
        Self::parse_alternatives(&[template])
    }

    /// Reads several templates of one source; the first that fits a path is taken.
    pub fn parse_alternatives(templates: &[&str]) -> Result<Self, TemplateError> {
        if templates.is_empty() {
            return Err(TemplateError::Empty);
        }
        let alternatives = templates
            .iter()
            .map(|text| parse_tokens(text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            alternatives,
            text: templates.join(" or "),
        })
    }

    /// Whether each path names its camera. If not, the source has one camera and must say which.
    pub fn names_camera(&self) -> bool {
        self.alternatives.iter().all(|tokens| {
            tokens
                .iter()
                .any(|t| matches!(t, Token::Open(Open::Camera | Open::CameraSteps)))
        })
    }

    /// Whether a path may state a local time, so that the source needs a zone.
    pub fn needs_zone(&self) -> bool {
        self.alternatives.iter().any(|tokens| {
            !has(tokens, Field::Offset)
                && !has(tokens, Field::UnixSeconds)
                && !has(tokens, Field::UnixMicroseconds)
        })
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn has(tokens: &[Token], field: Field) -> bool {
    tokens.contains(&Token::Field(field))
}

fn parse_tokens(template: &str) -> Result<Vec<Token>, TemplateError> {
    let template = template.strip_prefix("./").unwrap_or(template);
    if template.is_empty() {
        return Err(TemplateError::Empty);
    }
    if template.len() > PATH_MAX_BYTES {
        return Err(TemplateError::TooLong);
    }
    if template.chars().any(char::is_control) {
        return Err(TemplateError::ControlCharacter);
    }
    if template
        .split('/')
        .any(|step| matches!(step, "" | "." | ".."))
    {
        return Err(TemplateError::NotBeneathRoot);
    }

    let mut tokens = split_fields(template)?;
    add_extension(&mut tokens)?;
    check_meaning(&tokens)?;
    Ok(tokens)
}

fn split_fields(template: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '%' => percent_field(rest, &mut tokens)?,
            '{' => brace_field(rest, &mut tokens)?,
            _ => {
                push_literal(&mut tokens, c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Reads the field at the start of `rest`, which begins with `%`, and gives its length in bytes.
fn percent_field(rest: &str, tokens: &mut Vec<Token>) -> Result<usize, TemplateError> {
    const PATH: &str = "%path";
    if rest.starts_with(PATH) {
        tokens.push(Token::Open(Open::CameraSteps));
        return Ok(PATH.len());
    }
    let letter = rest.chars().nth(1);
    match letter {
        Some('Y') => tokens.push(Token::Field(Field::Year)),
        Some('m') => tokens.push(Token::Field(Field::Month)),
        Some('d') => tokens.push(Token::Field(Field::Day)),
        Some('H') => tokens.push(Token::Field(Field::Hour)),
        Some('M') => tokens.push(Token::Field(Field::Minute)),
        Some('S') => tokens.push(Token::Field(Field::Second)),
        Some('f') => tokens.push(Token::Field(Field::Microsecond)),
        Some('z') => tokens.push(Token::Field(Field::Offset)),
        Some('s') => tokens.push(Token::Field(Field::UnixSeconds)),
        Some('F') => push_joined(tokens, [Field::Year, Field::Month, Field::Day], '-'),
        Some('T') => push_joined(tokens, [Field::Hour, Field::Minute, Field::Second], ':'),
        Some('%') => push_literal(tokens, '%'),
        _ => {
            let field = rest.chars().take(2).collect();
            return Err(TemplateError::UnknownField(field));
        }
    }
    Ok(2)
}

/// Reads the field at the start of `rest`, which begins with `{`, and gives its length in bytes.
fn brace_field(rest: &str, tokens: &mut Vec<Token>) -> Result<usize, TemplateError> {
    let field = rest.find('}').map_or(rest, |end| &rest[..=end]);
    tokens.push(match field {
        "{camera}" => Token::Open(Open::Camera),
        "{any}" => Token::Open(Open::Any),
        "{unix_us}" => Token::Field(Field::UnixMicroseconds),
        "{duration_ms}" => Token::Field(Field::DurationMs),
        _ => return Err(TemplateError::UnknownField(field.to_owned())),
    });
    Ok(field.len())
}

fn push_literal(tokens: &mut Vec<Token>, c: char) {
    if let Some(Token::Literal(text)) = tokens.last_mut() {
        text.push(c);
    } else {
        tokens.push(Token::Literal(c.to_string()));
    }
}

fn push_joined(tokens: &mut Vec<Token>, fields: [Field; 3], separator: char) {
    let [first, second, third] = fields;
    tokens.push(Token::Field(first));
    push_literal(tokens, separator);
    tokens.push(Token::Field(second));
    push_literal(tokens, separator);
    tokens.push(Token::Field(third));
}

fn add_extension(tokens: &mut Vec<Token>) -> Result<(), TemplateError> {
    if let Some(Token::Literal(end)) = tokens.last()
        && let Some((_, extension)) = end.rsplit_once('.')
        && !extension.contains('/')
    {
        if VIDEO_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        return Err(TemplateError::UnknownExtension(extension.to_owned()));
    }
    tokens.push(Token::Extension);
    Ok(())
}

fn check_meaning(tokens: &[Token]) -> Result<(), TemplateError> {
    let cameras = tokens
        .iter()
        .filter(|t| matches!(t, Token::Open(Open::Camera | Open::CameraSteps)))
        .count();
    if cameras > 1 {
        return Err(TemplateError::CameraTwice);
    }

    let open_fields = tokens
        .iter()
        .filter(|t| matches!(t, Token::Open(_)))
        .count();
    if open_fields > OPEN_FIELDS_MAX {
        return Err(TemplateError::TooManyOpenFields);
    }

    for pair in tokens.windows(2) {
        let open = match pair[0] {
            Token::Open(Open::Camera) => "{camera}",
            Token::Open(Open::CameraSteps) => "%path",
            Token::Open(Open::Any) => "{any}",
            Token::Field(Field::DurationMs) => Field::DurationMs.spelling(),
            _ => continue,
        };
        if matches!(pair[1], Token::Open(_) | Token::Field(_)) {
            return Err(TemplateError::NoSeparator(open));
        }
    }

    let wall_clock = [
        Field::Year,
        Field::Month,
        Field::Day,
        Field::Hour,
        Field::Minute,
    ];
    let has_time = has(tokens, Field::UnixSeconds)
        || has(tokens, Field::UnixMicroseconds)
        || wall_clock.iter().all(|field| has(tokens, *field));
    let fraction_of_nothing = has(tokens, Field::Microsecond)
        && !has(tokens, Field::Second)
        && !has(tokens, Field::UnixSeconds);
    if !has_time || fraction_of_nothing {
        return Err(TemplateError::NoTime);
    }
    Ok(())
}
