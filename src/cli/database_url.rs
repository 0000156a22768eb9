//! Where the database is, as HELDAR_DATABASE_URL says it.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS};

use super::settings::absolute;

/// The URL of the database. Its debug form shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The database in this file.
    pub fn of_file(path: &Path) -> Self {
        Self(format!("sqlite://{}", percent_encoded(path)))
    }

    /// Reads a URL; a relative path of a file counts from the present folder.
    ///
    /// # Errors
    /// What is wrong with it, without the parts that may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        if is_postgres(url) {
            return Ok(Self(url.to_owned()));
        }
        let Some(path) = file_part(url) else {
            let scheme = url.split(':').next().unwrap_or_default();
            let known =
                scheme.len() < url.len() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
            let shown = if known {
                format!("`{scheme}:`")
            } else {
                "its value".to_owned()
            };
            return Err(format!(
                "{shown} is not supported; write sqlite:// and the path of a file, or postgres://user:password@host/database"
            ));
        };
        let parameters = url
            .split_once('?')
            .map(|(_, parameters)| parameters)
            .unwrap_or_default();
        if path.is_empty() || path.contains(":memory:") || parameters.contains("mode=memory") {
            return Err("the database must be a file; write sqlite:// and its path".to_owned());
        }
        let path = percent_encoded(&absolute(&percent_decoded(path)));
        Ok(Self(if parameters.is_empty() {
            format!("sqlite://{path}")
        } else {
            format!("sqlite://{path}?{parameters}")
        }))
    }

    /// The whole URL, with its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The database's file; `None` where a server keeps it.
    pub fn file(&self) -> Option<PathBuf> {
        file_part(&self.0).map(percent_decoded)
    }

    /// What may be shown of it.
    pub fn shown(&self) -> String {
        match self.file() {
            Some(path) => path.to_string_lossy().into_owned(),
            None => {
                // Behind the last `@`: a password may hold one, too. Parameters may name a password.
                let rest = self.0.rsplit('@').next().unwrap_or_default();
                let rest = rest.rsplit("//").next().unwrap_or_default();
                let place = rest.split('?').next().unwrap_or_default();
                format!("postgres://{place}")
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown())
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// What stands between the scheme and the parameters of an SQLite URL.
fn file_part(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(rest.split_once('?').map_or(rest, |(path, _)| path))
}

/// The characters that would change the meaning of a path in an SQLite URL.
const ENCODED: AsciiSet = CONTROLS.add(b'%').add(b'?').add(b'#');

fn percent_encoded(path: &Path) -> String {
    percent_encoding::percent_encode(path.as_os_str().as_encoded_bytes(), &ENCODED).to_string()
}

fn percent_decoded(text: &str) -> PathBuf {
    let bytes = percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::DatabaseUrl;

    #[test]
    fn no_form_that_is_shown_has_the_password() {
        for url in [
            "postgres://user:canary@db.example:5433/footage",
            "postgresql://user:can@ary/@db.example:5433/footage",
            "postgres://db.example:5433/footage?password=canary&sslmode=require",
        ] {
            let read = DatabaseUrl::parse(url).unwrap();
            assert_eq!(read.shown(), "postgres://db.example:5433/footage");
            assert_eq!(format!("{read:?}"), read.shown());
            assert_eq!(read.reveal(), url);
            assert_eq!(read.file(), None);
        }
        let error = DatabaseUrl::parse("mysql://user:canary@db/footage").unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
}
