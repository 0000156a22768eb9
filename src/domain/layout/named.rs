//! The layouts of known recorders, by name.

use std::time::Duration;

use super::closed::ClosedRule;
use super::template::PathTemplate;
use super::zone::SourceZone;

/// What the recorders' own code and documents say of their files, read in 2026-11.
#[derive(Debug)]
pub struct NamedLayout {
    /// The name by which settings choose the layout.
    pub name: &'static str,
    /// Which recorder and which of its settings the layout is for.
    pub about: &'static str,
    templates: &'static [&'static str],
    /// The zone of the names, where the recorder leaves no choice.
    zone: Option<SourceZone>,
    closing: Closing,
}

/// How a [`ClosedRule`] comes of the length of a segment.
#[derive(Debug)]
enum Closing {
    LaterFileExists,
    StableFor(Duration),
    DurationInside,
    DurationInName,
}

/// How much longer than its length a segment may be quiet before it counts as finished.
const QUIET_MARGIN: Duration = Duration::from_secs(15);

static LAYOUTS: [NamedLayout; 7] = [
    NamedLayout {
        name: "heldar",
        about: "Heldar recordings folder",
        templates: &["{camera}/%Y%m%d_%H%M%S.mp4"],
        zone: Some(SourceZone::Utc),
        closing: Closing::LaterFileExists,
    },
    NamedLayout {
        name: "mediamtx",
        about: "MediaMTX with its default recordPath below the recordings folder",
        templates: &["%path/%Y-%m-%d_%H-%M-%S-%f"],
        zone: None,
        closing: Closing::DurationInside,
    },
    NamedLayout {
        name: "frigate",
        about: "Frigate recordings folder",
        templates: &["%Y-%m-%d/%H/{camera}/%M.%S.mp4"],
        zone: Some(SourceZone::Utc),
        // The file appears under its name while it is still being remuxed.
        closing: Closing::StableFor(Duration::from_secs(10)),
    },
    NamedLayout {
        name: "lightnvr",
        about: "LightNVR recordings folder, with or without folders by year, month and day",
        // The name holds the whole date; the folders are not asked to agree with it, because they
        // may be made a moment before the name.
        templates: &[
            "{camera}/recording_%Y%m%d_%H%M%S.mp4",
            "{camera}/{any}/recording_%Y%m%d_%H%M%S.mp4",
            "{camera}/{any}/{any}/recording_%Y%m%d_%H%M%S.mp4",
            "{camera}/{any}/{any}/{any}/recording_%Y%m%d_%H%M%S.mp4",
        ],
        zone: None,
        closing: Closing::LaterFileExists,
    },
    NamedLayout {
        name: "shinobi",
        about: "Shinobi videos folder; a camera is a group and a monitor",
        templates: &["%path/%Y-%m-%dT%H-%M-%S.mp4"],
        zone: None,
        closing: Closing::LaterFileExists,
    },
    NamedLayout {
        name: "kerberos",
        about: "Recordings folder of one Kerberos agent, which is one camera",
        templates: &["%s_{any}_{duration_ms}.mp4"],
        zone: Some(SourceZone::Utc),
        closing: Closing::DurationInName,
    },
    NamedLayout {
        name: "ex_nvr",
        about: "Recordings folder of one ex_nvr device; its two qualities are two cameras",
        // The folders by date lie between the quality and the name.
        templates: &[
            "{camera}/{unix_us}.mp4",
            "{camera}/{any}/{unix_us}.mp4",
            "{camera}/{any}/{any}/{unix_us}.mp4",
            "{camera}/{any}/{any}/{any}/{unix_us}.mp4",
            "{camera}/{any}/{any}/{any}/{any}/{unix_us}.mp4",
        ],
        zone: Some(SourceZone::Utc),
        closing: Closing::LaterFileExists,
    },
];

impl NamedLayout {
    /// All known layouts.
    pub fn all() -> &'static [Self] {
        &LAYOUTS
    }

    /// The layout called `name`, if there is one.
    pub fn named(name: &str) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.name == name)
    }

    /// Where the recorder puts its files.
    pub fn template(&self) -> PathTemplate {
        PathTemplate::parse_alternatives(self.templates)
            .expect("the templates of all named layouts parse, which a test shows")
    }

    /// The zone of the recorder's names, or `None` when it depends on the machine the recorder
    /// runs on and must be given.
    pub fn zone(&self) -> Option<SourceZone> {
        self.zone
    }

    /// When the recorder has finished a file, for segments of `segment_length`.
    pub fn closed_rule(&self, segment_length: Duration) -> ClosedRule {
        let quiet = segment_length.saturating_add(QUIET_MARGIN);
        match self.closing {
            Closing::LaterFileExists => ClosedRule::LaterFileExists { quiet },
            Closing::StableFor(quiet) => ClosedRule::StableFor { quiet },
            Closing::DurationInside => ClosedRule::DurationInside { quiet },
            Closing::DurationInName => ClosedRule::DurationInName { quiet },
        }
    }
}
