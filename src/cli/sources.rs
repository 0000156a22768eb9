//! The syntax of HELDAR_SOURCES, and the same choices for `footage import`.

use std::path::{Path, PathBuf};

use heldar_footage::clock;
use heldar_footage::domain::layout::{
    NamedLayout, PathTemplate, SourceZone, TemplateError, ZoneError,
};
use heldar_footage::domain::source::Source;

/// Id of the source at HELDAR_RECORDINGS_DIR.
pub const RECORDINGS: &str = "recordings";

/// The syntax in words, for help texts.
pub const SYNTAX: &str = "\
HELDAR_SOURCES is a list of [id=]LAYOUT[@ZONE]:/absolute/path, separated by `;`, for example
  yard=mediamtx@Europe/Berlin:/recordings;frigate:/media/frigate/recordings

  LAYOUT  heldar, mediamtx, frigate, lightnvr, shinobi, kerberos, ex_nvr, or a path template
          such as {camera}/%Y-%m-%d/%H%M%S.mp4
  ZONE    zone of the times in file names: UTC, +01:00 or Europe/Berlin; required where the
          layout leaves it open
  id      short name of the source, [a-z0-9][a-z0-9_-]{0,62}; the layout's name unless given;
          a template needs one

The last `:/` of an entry ends the layout, and the last `@` before it begins the zone. So a \
template that holds an `@` must be given with its zone, and one that begins like an id (`cam=…`) \
with its id.";

/// A folder of recordings, with what is needed to read the names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSetting {
    /// Short name.
    pub id: String,
    /// A named layout or a path template.
    pub layout: String,
    /// `UTC`, an offset or an IANA name. `UTC` also where names need no zone.
    pub zone: String,
    /// Absolute path of the folder.
    pub root: PathBuf,
}

/// Why sources cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// An entry without an absolute path.
    #[error("`{0}` has no absolute path; write [id=]LAYOUT[@ZONE]:/absolute/path")]
    NoPath(String),
    /// An id that is no slug.
    #[error("`{0}` is no id of a source; ids are [a-z0-9][a-z0-9_-]{{0,62}}")]
    BadId(String),
    /// A template without an id.
    #[error("`{0}` is a path template and needs an id: write id={0}:/absolute/path")]
    NoId(String),
    /// Neither the name of a layout nor a template.
    #[error(
        "`{layout}` is no layout ({}) and no path template: {reason}",
        layout_names()
    )]
    BadLayout {
        /// What was given.
        layout: String,
        /// Why it is no template.
        reason: TemplateError,
    },
    /// The zone cannot be read.
    #[error(transparent)]
    BadZone(#[from] ZoneError),
    /// The names state local times, and no zone was given.
    #[error(
        "layout `{0}` states local times and needs the zone of the recorder, such as UTC or Europe/Berlin"
    )]
    NoZone(String),
    /// Another zone than the one that the recorder always uses.
    #[error("names of layout `{layout}` are always in {always}, not in {given}")]
    OtherZone {
        /// The layout.
        layout: String,
        /// Its zone.
        always: SourceZone,
        /// The zone that was given.
        given: SourceZone,
    },
    /// Two sources with one id.
    #[error("two sources have the id `{0}`; give one of them another: id=LAYOUT:/path")]
    IdTwice(String),
}

impl SourceSetting {
    /// As the catalog keeps it.
    pub fn into_source(self, follow: bool) -> Source {
        Source {
            id: self.id,
            root: self.root,
            layout: self.layout,
            zone: self.zone,
            follow,
            create_time: clock::now(),
        }
    }

    /// The source at HELDAR_RECORDINGS_DIR.
    pub fn recordings(root: &Path) -> Self {
        Self {
            id: RECORDINGS.to_owned(),
            layout: "heldar".to_owned(),
            zone: SourceZone::Utc.to_string(),
            root: root.to_path_buf(),
        }
    }

    /// Checks that the layout can be read with the zone.
    ///
    /// # Errors
    /// [`SourceError`] when the id, the layout or the zone is wrong, or the layout needs a zone and there is none.
    pub fn new(
        id: &str,
        layout: &str,
        zone: Option<&str>,
        root: PathBuf,
    ) -> Result<Self, SourceError> {
        if !is_id(id) {
            return Err(SourceError::BadId(id.to_owned()));
        }
        let given = zone.map(str::parse::<SourceZone>).transpose()?;
        let zone = match (NamedLayout::named(layout), given) {
            (Some(named), Some(given)) => match named.zone() {
                Some(always) if always != given => {
                    return Err(SourceError::OtherZone {
                        layout: layout.to_owned(),
                        always,
                        given,
                    });
                }
                _ => given,
            },
            (Some(named), None) => named
                .zone()
                .ok_or_else(|| SourceError::NoZone(layout.to_owned()))?,
            (None, given) => {
                let template =
                    PathTemplate::parse(layout).map_err(|reason| SourceError::BadLayout {
                        layout: layout.to_owned(),
                        reason,
                    })?;
                match given {
                    Some(given) => given,
                    None if template.needs_zone() => {
                        return Err(SourceError::NoZone(layout.to_owned()));
                    }
                    None => SourceZone::Utc,
                }
            }
        };
        Ok(Self {
            id: id.to_owned(),
            layout: layout.to_owned(),
            zone: zone.to_string(),
            root,
        })
    }
}

/// Reads the value of HELDAR_SOURCES; see [`SYNTAX`].
///
/// # Errors
/// [`SourceError`] of the first entry that is wrong.
pub fn parse(value: &str) -> Result<Vec<SourceSetting>, SourceError> {
    let mut sources: Vec<SourceSetting> = Vec::new();
    for entry in value
        .split(';')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let source = parse_entry(entry)?;
        if source.id == RECORDINGS || sources.iter().any(|other| other.id == source.id) {
            return Err(SourceError::IdTwice(source.id));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn parse_entry(entry: &str) -> Result<SourceSetting, SourceError> {
    let no_path = || SourceError::NoPath(entry.to_owned());
    let at = entry.rfind(":/").ok_or_else(no_path)?;
    let (before, root) = (&entry[..at], PathBuf::from(&entry[at + 1..]));
    let (id, rest) = match before.split_once('=') {
        Some((id, rest)) if !id.contains(['{', '%', '/', '@']) => (Some(id.trim()), rest),
        _ => (None, before),
    };
    let (layout, zone) = match rest.rsplit_once('@') {
        Some((layout, zone)) => (layout.trim(), Some(zone.trim())),
        None => (rest.trim(), None),
    };
    let id = match id {
        Some(id) => id,
        None if NamedLayout::named(layout).is_some() => layout,
        // A text that is no template either is likely a misspelt layout; its own error helps more.
        None => match PathTemplate::parse(layout) {
            Ok(_) => return Err(SourceError::NoId(rest.to_owned())),
            Err(reason) => {
                return Err(SourceError::BadLayout {
                    layout: layout.to_owned(),
                    reason,
                });
            }
        },
    };
    SourceSetting::new(id, layout, zone, root)
}

/// The id of a source that was given without one: the name of its folder, made a slug.
pub fn id_of_folder(root: &Path) -> String {
    let name = root
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let slug: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let slug: String = slug
        .trim_matches(['-', '_'])
        .chars()
        .take(ID_MAX_BYTES)
        .collect();
    if slug.is_empty() {
        "import".to_owned()
    } else {
        slug
    }
}

/// The names of all layouts.
pub fn layout_names() -> String {
    NamedLayout::all()
        .iter()
        .map(|layout| layout.name)
        .collect::<Vec<_>>()
        .join(", ")
}

const ID_MAX_BYTES: usize = 63;

fn is_id(text: &str) -> bool {
    (1..=ID_MAX_BYTES).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{SYNTAX, SourceError, id_of_folder, layout_names, parse};

    fn read(value: &str) -> Vec<[String; 4]> {
        let as_texts = |source: super::SourceSetting| {
            [
                source.id,
                source.layout,
                source.zone,
                source.root.to_string_lossy().into_owned(),
            ]
        };
        parse(value)
            .expect(value)
            .into_iter()
            .map(as_texts)
            .collect()
    }

    #[test]
    fn layouts_are_taken_by_name_with_zone_and_id() {
        assert_eq!(
            read(
                "heldar:/srv/rec; yard=mediamtx@Europe/Berlin:/recordings ;frigate:/media/frigate;"
            ),
            [
                ["heldar", "heldar", "UTC", "/srv/rec"],
                ["yard", "mediamtx", "Europe/Berlin", "/recordings"],
                ["frigate", "frigate", "UTC", "/media/frigate"],
            ]
        );
        assert!(read("").is_empty());
    }

    #[test]
    fn a_template_may_hold_colons_and_equal_signs() {
        assert_eq!(
            read("x={camera}/%H:%M:%S_%Y=%m=%d.mp4@+01:00:/rec"),
            [["x", "{camera}/%H:%M:%S_%Y=%m=%d.mp4", "+01:00", "/rec"]]
        );
        assert_eq!(read("x={camera}/%s.mp4:/rec")[0][2], "UTC");
    }

    #[test]
    fn a_zone_is_never_guessed() {
        let no_zone = |value: &str| {
            assert!(
                matches!(parse(value), Err(SourceError::NoZone(_))),
                "{value}"
            )
        };
        no_zone("mediamtx:/rec");
        no_zone("x={camera}/%Y%m%d_%H%M%S.mp4:/rec");
        assert!(matches!(
            parse("heldar@Europe/Berlin:/rec"),
            Err(SourceError::OtherZone { .. })
        ));
        assert!(matches!(
            parse("mediamtx@local:/rec"),
            Err(SourceError::BadZone(_))
        ));
    }

    #[test]
    fn an_entry_that_cannot_be_read_says_why() {
        assert!(matches!(parse("heldar:rec"), Err(SourceError::NoPath(_))));
        assert!(matches!(
            parse("fregate:/rec"),
            Err(SourceError::BadLayout { .. })
        ));
        assert!(matches!(
            parse("{camera}/%s.mp4:/rec"),
            Err(SourceError::NoId(_))
        ));
        assert!(matches!(
            parse("Yard=heldar:/rec"),
            Err(SourceError::BadId(_))
        ));
        assert!(matches!(
            parse("heldar:/a;heldar:/b"),
            Err(SourceError::IdTwice(_))
        ));
        assert!(matches!(
            parse("recordings=heldar:/a"),
            Err(SourceError::IdTwice(_))
        ));
    }

    #[test]
    fn a_folder_gives_an_id() {
        assert_eq!(id_of_folder(Path::new("/mnt/Old NVR/")), "old-nvr");
        assert_eq!(id_of_folder(Path::new("/")), "import");
        assert_eq!(id_of_folder(Path::new("/-ü-")), "import");
    }

    #[test]
    fn the_syntax_names_every_layout() {
        assert!(SYNTAX.contains(&layout_names()), "{}", layout_names());
    }
}
