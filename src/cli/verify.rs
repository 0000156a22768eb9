//! `footage verify`: is an archive as it was made? Without a server, and for whoever got the zip.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::builder::styling::AnsiColor;
use heldar_footage::domain::archive::{ArchiveDefect, ArchiveDefectKind, ArchiveSignature};
use heldar_footage::packing::{self, Findings, KnownKeys, KnownKeysError, Stop, VerifyError};
use serde::Serialize;

use super::archive_report::defect_line;
use super::failure::{CliError, EXIT_NOT_INTACT};
use super::progress::ProgressView;
use super::signals::Signals;
use super::{colour, description, json, words};

/// Check that archives are as they were made, without a server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every byte of the zip is compared: the files with SHA256SUMS, SHA256SUMS with its signature, and the \
rest with what the zip must be. A damaged entry is named; the exit code is then 5.

That a signature fits says that nothing was changed since somebody signed. Who that was only the key \
tells: ask the operator of the server for its public key by another way than the archive, and give it \
with --key, or compare its fingerprint (SHA256:...) with the one that is printed.

Examples:
  footage verify bkj_0197f1c2.zip
  footage verify --key server.pub /mnt/evidence/*.zip")]
pub struct VerifyArgs {
    /// Archives to check
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Public keys to trust: a .pub file, authorized_keys or allowed_signers. A signature by any other key does not count
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print the findings as JSON, a list with one object per file
    #[arg(long)]
    json: bool,
}

/// What is said of one file, as it is in the JSON.
#[derive(Debug, Serialize)]
struct Verification {
    file: String,
    /// Nothing was changed, and the signature is by a key of --key, or by any key without it.
    intact: bool,
    signature: ArchiveSignature,
    signing_key_fingerprint: String,
    entries_checked: u64,
    bytes_checked: u64,
    defects: Vec<ArchiveDefect>,
    defect_count: u64,
}

impl Verification {
    fn new(path: &Path, findings: Findings, has_key: bool) -> Self {
        let is_signed = match findings.signature {
            ArchiveSignature::Valid => true,
            ArchiveSignature::UnknownKey => !has_key,
            ArchiveSignature::Invalid | ArchiveSignature::Missing => false,
        };
        Self {
            file: path.to_string_lossy().into_owned(),
            intact: findings.defect_count == 0 && is_signed,
            signature: findings.signature,
            signing_key_fingerprint: findings.signing_key_fingerprint,
            entries_checked: findings.entries_checked,
            bytes_checked: findings.bytes_checked,
            defects: findings.defects,
            defect_count: findings.defect_count,
        }
    }

    fn lines(&self, has_key: bool) -> Vec<String> {
        let file = words::plain(&self.file);
        let contents = format!(
            "{}, {}",
            match self.entries_checked {
                1 => "1 entry".to_owned(),
                number => format!("{} entries", words::grouped(signed(number))),
            },
            words::bytes(signed(self.bytes_checked))
        );
        if self.intact {
            let verdict = colour::on_stdout("intact", AnsiColor::Green);
            return vec![format!(
                "{file}: {verdict}, {contents}, signed by {}",
                self.signing_key_fingerprint
            )];
        }
        let verdict = colour::on_stdout("not intact", AnsiColor::Red);
        let mut lines = vec![format!("{file}: {verdict}")];
        lines.extend(
            self.defects
                .iter()
                .map(|defect| defect_line(&defect.entry_name, &defect.message)),
        );
        let unlisted = self.defect_count - self.defects.len() as u64;
        if unlisted > 0 {
            lines.push(format!("  and {} more", words::grouped(signed(unlisted))));
        }
        lines.push(match self.signature {
            ArchiveSignature::Valid => {
                format!("  The signature fits, by {}.", self.signing_key_fingerprint)
            }
            ArchiveSignature::UnknownKey if has_key => format!(
                "  The signature is by {}, which is not a key that you trust.",
                self.signing_key_fingerprint
            ),
            ArchiveSignature::UnknownKey => {
                format!("  The signature fits, by {}.", self.signing_key_fingerprint)
            }
            ArchiveSignature::Invalid => "  The signature does not fit.".to_owned(),
            ArchiveSignature::Missing => "  There is no signature.".to_owned(),
        });
        if self.entries_checked > 0 {
            lines.push(format!("  Compared with the recorded hashes: {contents}."));
        }
        lines
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read. That it is not intact is told by the exit code.
pub async fn run(args: VerifyArgs) -> Result<ExitCode, CliError> {
    let known = match &args.key {
        Some(path) => trusted(path)?,
        None => KnownKeys::default(),
    };
    let has_key = args.key.is_some();
    let mut signals = Signals::listen()?;
    let mut found = Vec::new();
    for path in &args.files {
        let verification = verify(path, &known, has_key, args.json, &mut signals).await?;
        if !args.json {
            description::print(&verification.lines(has_key))?;
        }
        found.push(verification);
    }
    if args.json {
        json::print_plain(&found)?;
    } else if !has_key && found.iter().any(|verification| verification.intact) {
        description::print(&[
            "Anybody can sign with a key of their own. Ask the operator of the server for the key's fingerprint and"
                .to_owned(),
            "compare it with the above, or for the public key and name it with --key.".to_owned(),
        ])?;
    }
    Ok(if found.iter().all(|verification| verification.intact) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_INTACT)
    })
}

/// The keys that a person trusts.
fn trusted(path: &Path) -> Result<KnownKeys, CliError> {
    let shown = words::plain(&path.to_string_lossy());
    // A list of the service may be absent, one that a person names must be there.
    if let Err(error) = File::open(path) {
        return Err(CliError::file("read", path, error));
    }
    let known = KnownKeys::read(path).map_err(|error| match error {
        KnownKeysError::Io(error) => CliError::file("read", path, error),
        error => CliError::Usage(format!("{shown} is no list of public keys: {error}")),
    })?;
    if known.is_empty() {
        return Err(CliError::Usage(format!(
            "{shown} has no Ed25519 key, and archives are signed with no other"
        )));
    }
    Ok(known)
}

async fn verify(
    path: &Path,
    known: &KnownKeys,
    has_key: bool,
    json: bool,
    signals: &mut Signals,
) -> Result<Verification, CliError> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    let (path_here, known, stopped) = (path.to_owned(), known.clone(), Arc::clone(&is_stopped));
    let mut work = tokio::task::spawn_blocking(move || look(&path_here, &known, json, &stopped));
    let looked = tokio::select! {
        looked = &mut work => looked,
        name = signals.next() => {
            is_stopped.store(true, Ordering::Relaxed);
            // It must have left the terminal before anything is said.
            let _ = work.await;
            return Err(CliError::Interrupted(format!("ended by {name}; nothing is known of {}",
                words::plain(&path.to_string_lossy()))));
        }
    };
    let shown = words::plain(&path.to_string_lossy());
    match looked.map_err(|error| CliError::local(format!("cannot verify {shown}"), error))? {
        Ok(findings) => Ok(Verification::new(path, findings, has_key)),
        Err(VerifyError::NotAZip) => Ok(Verification::new(path, no_zip(), has_key)),
        Err(VerifyError::Read(error)) => Err(CliError::file("read", path, error)),
        Err(error) => Err(CliError::local(format!("cannot verify {shown}"), error)),
    }
}

fn look(
    path: &Path,
    known: &KnownKeys,
    json: bool,
    is_stopped: &AtomicBool,
) -> Result<Findings, VerifyError> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        let reason = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason).into());
    }
    let mut view = ProgressView::new(json);
    let begun = Instant::now();
    packing::verify(&file, known, |done, total| {
        if is_stopped.load(Ordering::Relaxed) {
            return Err(Stop);
        }
        if done < total {
            view.show_verification(done, total, begun.elapsed());
        }
        Ok(())
    })
}

/// What is found in a file that is no zip.
fn no_zip() -> Findings {
    let defect = ArchiveDefect {
        entry_name: String::new(),
        kind: ArchiveDefectKind::Unreadable,
        expected_sha256: String::new(),
        found_sha256: String::new(),
        message: "this is no zip".to_owned(),
    };
    Findings {
        signature: ArchiveSignature::Missing,
        signing_key_fingerprint: String::new(),
        entries_checked: 0,
        bytes_checked: 0,
        defects: vec![defect],
        defect_count: 1,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use heldar_footage::domain::archive::ArchiveSignature;
    use heldar_footage::packing::{Findings, SigningKey};

    use super::{Verification, no_zip, trusted};
    use crate::cli::failure::CliError;

    fn lines(findings: &Findings, has_key: bool) -> Vec<String> {
        Verification::new(Path::new("a.zip"), findings.clone(), has_key).lines(has_key)
    }

    fn sound(signature: ArchiveSignature) -> Findings {
        Findings {
            signature,
            signing_key_fingerprint: "SHA256:abc".to_owned(),
            entries_checked: 364,
            bytes_checked: 1_800_000_000,
            defects: Vec::new(),
            defect_count: 0,
        }
    }

    #[test]
    fn an_intact_archive_is_one_line() {
        let expected = ["a.zip: intact, 364 entries, 1.80 GB, signed by SHA256:abc"];
        assert_eq!(lines(&sound(ArchiveSignature::Valid), true), expected);
        assert_eq!(lines(&sound(ArchiveSignature::UnknownKey), false), expected);
    }

    #[test]
    fn a_signature_that_proves_nothing_makes_an_archive_not_intact() {
        for (signature, has_key, reason) in [
            (
                ArchiveSignature::UnknownKey,
                true,
                "not a key that you trust",
            ),
            (ArchiveSignature::Invalid, false, "does not fit"),
            (ArchiveSignature::Missing, false, "no signature"),
        ] {
            let said = lines(&sound(signature), has_key);
            assert_eq!(said[0], "a.zip: not intact");
            assert!(said[1].contains(reason), "{said:?}");
        }
    }

    #[test]
    fn each_defect_is_a_line_and_those_beyond_the_list_are_counted() {
        let mut findings = no_zip();
        findings.defects[0].entry_name = "gate/a\u{1b}.mp4".to_owned();
        findings.defect_count = 3;
        assert_eq!(
            lines(&findings, false),
            [
                "a.zip: not intact",
                "  gate/a\\u{1b}.mp4: this is no zip",
                "  and 2 more",
                "  There is no signature."
            ]
        );
    }

    #[test]
    fn a_list_of_keys_must_be_there_and_have_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pub");
        assert!(matches!(trusted(&path), Err(CliError::Local { .. })));
        for text in ["# no key\n", "ssh-rsa AAAA somebody\n", "nonsense\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(trusted(&path), Err(CliError::Usage(_))), "{text}");
        }
        let key = SigningKey::load_or_create(&folder.path().join("key")).unwrap();
        std::fs::write(&path, key.public_line()).unwrap();
        assert!(!trusted(&path).unwrap().is_empty());
    }
}
