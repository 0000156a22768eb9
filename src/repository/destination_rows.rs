//! Destinations as rows.
//!
//! The settings of a row have [`MASK`] where a secret is sealed and nothing where there is none, so that a destination
//! can be shown without the key.

use super::StoreError;
use super::database::Connection;
use super::error::{count, inconsistent, json, time, to_json};
use super::sealing::{SealError, SealedRow, SecretKey};
use super::statement::sql;
use crate::domain::backup::destination::{
    Destination, DestinationKind, DestinationSettings, DestinationStatus, MASK, Pause, PauseReason,
    Secret,
};

pub(super) const TABLE: &str = "destinations";

pub(super) const SELECT: &str = "
    SELECT id, kind, display_name, enabled, transfers, bandwidth_limit, settings, sealed, labels, revision,
        pause_reason, pause_message, pause_time_us, last_success_us, free_bytes, object_count, stored_bytes,
        create_time_us, update_time_us, request_digest
    FROM destinations ";

#[derive(sqlx::FromRow)]
pub(super) struct DestinationRow {
    pub(super) id: String,
    kind: String,
    display_name: String,
    enabled: bool,
    transfers: Option<i64>,
    bandwidth_limit: i64,
    settings: String,
    pub(super) sealed: Option<Vec<u8>>,
    labels: String,
    revision: i64,
    pause_reason: Option<String>,
    pause_message: String,
    pause_time_us: Option<i64>,
    last_success_us: Option<i64>,
    free_bytes: Option<i64>,
    object_count: i64,
    stored_bytes: i64,
    pub(super) create_time_us: i64,
    update_time_us: i64,
    pub(super) request_digest: String,
}

impl DestinationRow {
    pub(super) async fn get(
        connection: &mut Connection,
        id: &str,
    ) -> Result<Option<Self>, StoreError> {
        sql(SELECT)
            .push("WHERE id = ")
            .push_bind(id)
            .fetch_optional(connection)
            .await
    }

    /// The destination with its secrets in clear.
    pub(super) fn open(self, key: Option<&SecretKey>) -> Result<Destination, StoreError> {
        let sealed = self.sealed.clone();
        let mut destination = Destination::try_from(self)?;
        if let Some(sealed) = sealed {
            let values = open(key, &destination, &sealed)?;
            for (secret, value) in destination.settings.secrets_mut().into_iter().zip(values) {
                *secret = Secret::new(value);
            }
        }
        Ok(destination)
    }
}

impl TryFrom<DestinationRow> for Destination {
    type Error = StoreError;

    /// The destination as it is shown: [`MASK`] stands for each secret that it has.
    fn try_from(row: DestinationRow) -> Result<Self, StoreError> {
        let id = row.id.as_str();
        let bad = |fault: &str| inconsistent(TABLE, id, fault);
        let settings: DestinationSettings = json(TABLE, id, &row.settings)?;
        if DestinationKind::parse(&row.kind) != Some(settings.kind()) {
            return Err(bad("settings of another kind"));
        }
        let transfers = row
            .transfers
            .map(|transfers| {
                u32::try_from(transfers).map_err(|_| bad("transfers are out of range"))
            })
            .transpose()?;
        let pause = match (&row.pause_reason, row.pause_time_us) {
            (Some(reason), Some(start_us)) => Some(Pause {
                reason: PauseReason::parse(reason).ok_or_else(|| bad("unknown pause"))?,
                message: row.pause_message.clone(),
                start_time: time(TABLE, id, start_us)?,
            }),
            _ => None,
        };
        Ok(Self {
            display_name: row.display_name,
            enabled: row.enabled,
            transfers,
            bandwidth_limit_bytes_per_second: count(TABLE, id, row.bandwidth_limit)?,
            settings,
            labels: json(TABLE, id, &row.labels)?,
            create_time: time(TABLE, id, row.create_time_us)?,
            update_time: time(TABLE, id, row.update_time_us)?,
            revision: count(TABLE, id, row.revision)?,
            status: DestinationStatus {
                pause,
                last_success_time: row
                    .last_success_us
                    .map(|us| time(TABLE, id, us))
                    .transpose()?,
                object_count: count(TABLE, id, row.object_count)?,
                stored_bytes: count(TABLE, id, row.stored_bytes)?,
                free_bytes: row
                    .free_bytes
                    .map(|bytes| count(TABLE, id, bytes))
                    .transpose()?,
            },
            id: row.id,
        })
    }
}

/// Settings as a row holds them.
#[derive(Debug)]
pub(super) struct StoredSettings {
    /// The settings with [`MASK`] for each secret (JSON).
    pub(super) settings: String,
    /// The secrets; `None` when there are none.
    pub(super) sealed: Option<Vec<u8>>,
    /// Whether a secret was written or taken away.
    pub(super) has_new_secrets: bool,
}

/// Parts `new` into what is stored in clear and what is sealed. [`MASK`] keeps the secret that `present` has, and is
/// none where that has none. Secrets that are only kept need no key.
pub(super) fn stored_settings(
    new: &Destination,
    present: Option<(&Destination, Option<&[u8]>)>,
    key: Option<&SecretKey>,
) -> Result<StoredSettings, StoreError> {
    let mut settings = new.settings.clone();
    let had: Vec<bool> = match present {
        Some((present, _)) => {
            let secrets = present.settings.secrets();
            secrets.iter().map(|secret| !secret.is_empty()).collect()
        }
        None => vec![false; settings.secrets().len()],
    };
    let given = settings.secrets().into_iter().map(Secret::reveal);
    let kept: Vec<bool> = given
        .zip(&had)
        .map(|(text, had)| text == MASK && *had)
        .collect();
    let is_new = |secret: &&Secret| !secret.is_empty() && secret.reveal() != MASK;
    let has_new = settings.secrets().iter().any(is_new);
    let sealed_before = present.and_then(|(_, sealed)| sealed);
    let has_new_secrets = has_new || kept != had;
    if !has_new_secrets {
        mask(&mut settings, &kept);
        return Ok(StoredSettings {
            settings: to_json(&settings),
            sealed: sealed_before.map(<[u8]>::to_vec),
            has_new_secrets,
        });
    }
    let before = match (present, sealed_before) {
        (Some((present, _)), Some(sealed)) if kept.contains(&true) => open(key, present, sealed)?,
        _ => Vec::new(),
    };
    let values: Vec<&str> = settings
        .secrets()
        .into_iter()
        .zip(&kept)
        .enumerate()
        .map(|(at, (secret, kept))| match secret.reveal() {
            MASK if *kept => before.get(at).map_or("", String::as_str),
            MASK => "",
            text => text,
        })
        .collect();
    let is_set: Vec<bool> = values.iter().map(|text| !text.is_empty()).collect();
    let sealed = if is_set.contains(&true) {
        Some(seal(key, new, &values)?)
    } else {
        None
    };
    mask(&mut settings, &is_set);
    Ok(StoredSettings {
        settings: to_json(&settings),
        sealed,
        has_new_secrets,
    })
}

fn mask(settings: &mut DestinationSettings, is_set: &[bool]) {
    for (secret, is_set) in settings.secrets_mut().into_iter().zip(is_set) {
        *secret = Secret::new(if *is_set { MASK } else { "" });
    }
}

fn seal(
    key: Option<&SecretKey>,
    destination: &Destination,
    secrets: &[&str],
) -> Result<Vec<u8>, StoreError> {
    let key = key.ok_or(SealError::SecretKeyMissing);
    key.and_then(|key| key.seal(&sealed_row(destination), secrets))
        .map_err(|source| secrets_error(&destination.id, source))
}

fn open(
    key: Option<&SecretKey>,
    destination: &Destination,
    sealed: &[u8],
) -> Result<Vec<String>, StoreError> {
    let key = key.ok_or(SealError::SecretKeyMissing);
    key.and_then(|key| key.open(&sealed_row(destination), sealed))
        .map_err(|source| secrets_error(&destination.id, source))
}

fn sealed_row(destination: &Destination) -> SealedRow<'_> {
    SealedRow {
        id: &destination.id,
        kind: destination.settings.kind(),
    }
}

pub(super) fn secrets_error(destination_id: &str, source: SealError) -> StoreError {
    StoreError::Secrets {
        destination_id: destination_id.to_owned(),
        source,
    }
}
