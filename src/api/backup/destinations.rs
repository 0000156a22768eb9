//! Destinations: created, listed, changed, deleted, tried.

use crate::api::Services;
use crate::api::catalog::unchecked;
use crate::api::convert::{etag_revision, int64, revision_etag, timestamp};
use crate::api::convert_destination::{kind_filter, std_duration};
use crate::api::errors::trial_status;
use crate::api::fields::Fields;
use crate::api::job::request_key;
use crate::api::page::{Tokens, fit, page_size};
use crate::api::status::ApiError;
use crate::api::update_mask::{self, Rules};
use crate::clock;
use crate::domain::backup::destination::{Destination, DestinationSettings, MASK};
use crate::domain::id;
use crate::jobs::JobsError;
use crate::proto;
use crate::proto::test_destination_request::Subject;
use crate::repository::{
    DeletedDestination, DestinationFilter, InsertedDestination, UpdatedDestination,
};

use super::read_destination;

const UPDATES: Rules = Rules {
    message: "Destination",
    fixed: &["id", "status", "create_time", "update_time", "etag"],
    by_field: &["local", "sftp", "ftp", "s3", "rclone"],
};

/// How often a change is made anew because another one came first.
const UPDATE_ATTEMPTS: u32 = 8;

pub(super) async fn create(
    services: &Services,
    mut asked: proto::CreateDestinationRequest,
) -> Result<proto::Destination, ApiError> {
    let now = clock::now();
    let mut fields = Fields::default();
    fields.chosen_id("destination_id", id::DESTINATION, &asked.destination_id);
    let request_id = fields.request_id(&std::mem::take(&mut asked.request_id));
    let request = request_key(request_id, &asked);
    let id = if asked.destination_id.is_empty() {
        id::new(id::DESTINATION)
    } else {
        asked.destination_id
    };
    if asked.destination.is_none() {
        fields.wrong("destination", "is required");
    }
    let read = asked.destination.and_then(|mut destination| {
        let roots = services.backups.local_roots();
        let settings =
            read_destination::settings(&mut fields, destination.settings.take(), None, roots);
        read_destination::destination(&mut fields, id, destination, settings, now)
    });
    fields.check()?;
    let new = read.ok_or_else(|| unchecked("destination"))?;
    allowed(services, &new.settings).await?;
    match services
        .store
        .insert_destination(&new, request.as_ref())
        .await?
    {
        InsertedDestination::New(made) | InsertedDestination::Existing(made) => Ok((*made).into()),
        InsertedDestination::RequestIdReused => Err(JobsError::RequestIdReused.into()),
        InsertedDestination::IdTaken => Err(ApiError::Taken {
            kind: "destination",
            name: new.id,
        }),
    }
}

pub(super) async fn list(
    services: &Services,
    mut request: proto::ListDestinationsRequest,
) -> Result<proto::ListDestinationsResponse, ApiError> {
    let (asked_size, page_token) = (
        std::mem::take(&mut request.page_size),
        std::mem::take(&mut request.page_token),
    );
    let tokens = Tokens::of("ListDestinations", &request);
    let mut fields = Fields::default();
    let filter = DestinationFilter {
        kind: kind_filter(request.kind).unwrap_or_else(|_| {
            fields.wrong("kind", "is no known kind");
            None
        }),
        paused_only: request.paused_only,
    };
    let size = page_size(&mut fields, asked_size);
    fields.check()?;
    let page = tokens.page(size, &page_token)?;
    let (destinations, next) = services.store.destinations(&filter, &page).await?;
    let row = |destination: Destination| {
        let key = (
            destination.create_time.timestamp_micros(),
            destination.id.clone(),
        );
        (key, proto::Destination::from(destination))
    };
    let (destinations, next) = fit(destinations.into_iter().map(row).collect(), next);
    Ok(proto::ListDestinationsResponse {
        destinations,
        next_page_token: tokens.token(next),
    })
}

pub(super) async fn update(
    services: &Services,
    request: proto::UpdateDestinationRequest,
) -> Result<proto::Destination, ApiError> {
    let Some(asked) = request.destination else {
        return Err(ApiError::field("destination", "is required"));
    };
    let stale = || ApiError::Stale {
        kind: "destination",
        name: asked.id.clone(),
    };
    for _ in 0..UPDATE_ATTEMPTS {
        let now = clock::now();
        let present = services.destination("destination.id", &asked.id).await?;
        if !asked.etag.is_empty() && asked.etag != revision_etag(present.revision) {
            return Err(stale());
        }
        let mut fields = Fields::default();
        let shown = proto::Destination::from(present.clone());
        let mask = request.update_mask.as_ref();
        let mut message = update_mask::updated(&mut fields, &UPDATES, &shown, &asked, mask)?;
        // Settings that stay need not pass rules that became stricter since: it must be possible to disable a
        // destination that is no longer allowed.
        let keeps_settings = message.settings == shown.settings;
        let settings = if keeps_settings {
            Some(present.settings.clone())
        } else {
            read_destination::settings(
                &mut fields,
                message.settings.take(),
                Some(&present.settings),
                services.backups.local_roots(),
            )
        };
        let read =
            read_destination::destination(&mut fields, present.id.clone(), message, settings, now);
        fields.check()?;
        let read = read.ok_or_else(|| unchecked("destination"))?;
        if !keeps_settings {
            allowed(services, &read.settings).await?;
        }
        let new = Destination {
            create_time: present.create_time,
            update_time: present.update_time,
            revision: present.revision,
            ..read
        };
        match services.store.update_destination(&new, now).await? {
            UpdatedDestination::Updated(updated) => return Ok((*updated).into()),
            UpdatedDestination::NotFound => {
                return Err(ApiError::destination_not_found(&new.id));
            }
            // Read again: the etag decides whether the caller minds what came in between.
            UpdatedDestination::Stale | UpdatedDestination::OtherKind => {}
        }
    }
    Err(stale())
}

pub(super) async fn delete(
    services: &Services,
    request: proto::DeleteDestinationRequest,
) -> Result<(), ApiError> {
    let id = services
        .destination("destination_id", &request.destination_id)
        .await?
        .id;
    let stale = || ApiError::Stale {
        kind: "destination",
        name: id.clone(),
    };
    let revision = match request.etag.as_str() {
        "" => None,
        etag => Some(etag_revision(etag).ok_or_else(stale)?),
    };
    match services.store.delete_destination(&id, revision).await? {
        DeletedDestination::Deleted => Ok(()),
        DeletedDestination::NotFound => Err(ApiError::destination_not_found(&id)),
        DeletedDestination::Stale => Err(stale()),
        DeletedDestination::InUse {
            policy_ids,
            job_ids,
        } => Err(ApiError::destination_in_use(&id, &policy_ids, &job_ids)),
    }
}

pub(super) async fn test(
    services: &Services,
    request: proto::TestDestinationRequest,
) -> Result<proto::TestDestinationResponse, ApiError> {
    let (stored, settings) = match request.subject {
        None => {
            return Err(ApiError::field(
                "subject",
                "one of `destination_id` and `destination` is required",
            ));
        }
        Some(Subject::DestinationId(id)) => {
            let stored = with_secrets(services, "destination_id", &id).await?;
            let settings = stored.settings.clone();
            (Some(stored), settings)
        }
        Some(Subject::Destination(asked)) => (None, unstored(services, asked).await?),
    };
    let tried = services.backups.trial(&settings).await?;
    let trial = tried.trial;
    let ok = trial.error.is_none()
        && trial.is_listed
        && trial.is_written
        && trial.is_read_back
        && trial.is_deleted;
    if let Some(stored) = stored.filter(|_| ok) {
        services
            .store
            .fill_in_host_keys(&stored, &trial.host_keys, clock::now())
            .await?;
        services.store.end_pause(&stored.id).await?;
    }
    Ok(proto::TestDestinationResponse {
        ok,
        error: (!ok).then(|| trial_status(trial.error)),
        latency: Some(std_duration(tried.latency)),
        listed: trial.is_listed,
        written: trial.is_written,
        read_back: trial.is_read_back,
        deleted: trial.is_deleted,
        free_bytes: trial.space.free_bytes.map(int64),
        total_bytes: trial.space.total_bytes.map(int64),
        host_keys: trial.host_keys,
        test_time: Some(timestamp(clock::now())),
    })
}

/// Settings that are only to be tried, with the secrets of the stored destination that they name where they are masked.
async fn unstored(
    services: &Services,
    mut asked: proto::Destination,
) -> Result<DestinationSettings, ApiError> {
    let stored = if asked.id.is_empty() {
        None
    } else {
        Some(
            services
                .destination("destination.id", &asked.id)
                .await?
                .settings,
        )
    };
    let mut fields = Fields::default();
    let roots = services.backups.local_roots();
    let settings =
        read_destination::settings(&mut fields, asked.settings.take(), stored.as_ref(), roots);
    fields.check()?;
    let mut settings = settings.ok_or_else(|| unchecked("destination"))?;
    if settings
        .secrets()
        .iter()
        .any(|secret| secret.reveal() == MASK)
    {
        let stored = with_secrets(services, "destination.id", &asked.id).await?;
        let kept = stored.settings.secrets().into_iter().cloned();
        for (secret, kept) in settings.secrets_mut().into_iter().zip(kept) {
            if secret.reveal() == MASK {
                *secret = kept;
            }
        }
    }
    Ok(settings)
}

async fn with_secrets(services: &Services, field: &str, id: &str) -> Result<Destination, ApiError> {
    super::known_form(field, id::DESTINATION, id, ApiError::destination_not_found)?;
    services
        .store
        .destination_with_secrets(id)
        .await?
        .ok_or_else(|| ApiError::destination_not_found(id))
}

/// Refuses settings that lead to where the operator allows no destination. A host that is not known at present is no
/// fault: a destination is stored without being tried, and each run looks again.
async fn allowed(services: &Services, settings: &DestinationSettings) -> Result<(), ApiError> {
    match services.backups.check_settings(settings).await {
        Ok(()) => Ok(()),
        Err(error) => match ApiError::from_settings_check(error) {
            Some(error) => Err(error),
            None => Ok(()),
        },
    }
}
