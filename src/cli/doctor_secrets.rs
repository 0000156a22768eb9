//! What `footage doctor` says of the key that opens the secrets of backup destinations.

use heldar_footage::repository::{
    DestinationFilter, Page, SealError, SecretKey, Store, StoreError,
};

use super::doctor::Check;
use super::words;

const NAME: &str = "secret key";
/// Destinations that are named; the others are counted.
const NAMED: usize = 5;
const PAGE_SIZE: u32 = 100;

/// Whether the key opens every secret that the database has. Nothing is written.
pub async fn secret_key(store: &Store, key: Option<&SecretKey>) -> Check {
    let store = store.clone().with_secret_key(key.cloned());
    match try_all(&store).await {
        Ok(tried) => tried.check(),
        Err(error) => Check::fail(
            NAME,
            format!("the destinations cannot be read: {error}"),
            "see that the disk is sound and the database is readable",
        ),
    }
}

/// What became of the destinations that have secrets.
#[derive(Default)]
struct Tried {
    opened: usize,
    /// Ids, and the reason of the first.
    closed: Vec<String>,
    reason: Option<SealError>,
}

async fn try_all(store: &Store) -> Result<Tried, StoreError> {
    let mut tried = Tried::default();
    let mut page = Page {
        size: PAGE_SIZE,
        after: None,
    };
    loop {
        let (destinations, next) = store
            .destinations(&DestinationFilter::default(), &page)
            .await?;
        for destination in destinations {
            if !destination.settings.has_secrets() {
                continue;
            }
            match store.destination_with_secrets(&destination.id).await {
                Ok(_) => tried.opened += 1,
                Err(StoreError::Secrets { source, .. }) => {
                    tried.reason.get_or_insert(source);
                    tried.closed.push(destination.id);
                }
                Err(error) => return Err(error),
            }
        }
        if next.is_none() {
            return Ok(tried);
        }
        page.after = next;
    }
}

impl Tried {
    fn check(&self) -> Check {
        let Some(reason) = self.reason else {
            let found = match self.opened {
                0 => "no destination has secrets".to_owned(),
                number => format!("opens the secrets of {}", destinations(number)),
            };
            return Check::ok(NAME, found);
        };
        let why = match reason {
            SealError::SecretKeyMissing => "HELDAR_SECRET_KEY is not set".to_owned(),
            reason => reason.to_string(),
        };
        let named = self.closed.len().min(NAMED);
        let mut ids = self.closed[..named].join(", ");
        if self.closed.len() > named {
            ids.push_str(&format!(" and {} more", self.closed.len() - named));
        }
        let found = format!(
            "{why}: nothing can be sent to or read from {} ({})",
            destinations(self.closed.len()),
            words::plain(&ids)
        );
        let mend = match reason {
            SealError::SecretKeyMissing | SealError::WrongSecretKey => {
                "set HELDAR_SECRET_KEY to the key that the secrets were sealed with; if it is lost, set a new one \
                 (`footage secret-key new`) and write the secrets again with UpdateDestination"
            }
            SealError::Damaged | SealError::Random => {
                "write the secrets of the destination again with UpdateDestination"
            }
        };
        Check::fail(NAME, found, mend)
    }
}

fn destinations(number: usize) -> String {
    words::count(i64::try_from(number).unwrap_or(i64::MAX), "destination")
}

#[cfg(test)]
mod tests {
    use super::super::doctor::Verdict;
    use super::{SealError, Tried};

    #[test]
    fn destinations_whose_secrets_stay_closed_are_named_within_bounds() {
        let tried = Tried {
            opened: 1,
            closed: (0..7).map(|number| format!("bkd_{number}")).collect(),
            reason: Some(SealError::Damaged),
        };
        let check = tried.check();
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(
            check.found,
            "the sealed secrets are damaged: nothing can be sent to or read from 7 destinations \
             (bkd_0, bkd_1, bkd_2, bkd_3, bkd_4 and 2 more)"
        );
    }

    #[test]
    fn a_key_that_nothing_needs_is_well() {
        let check = Tried::default().check();
        assert_eq!(
            (check.verdict, check.found.as_str()),
            (Verdict::Ok, "no destination has secrets")
        );
    }
}
