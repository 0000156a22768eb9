//! BackupService: each method reads its request, calls, and shows what came of it.
//!
//! `destinations`, `policies` and `runs` have the methods by subject; `read_*` are what callers write, by the rules of
//! the contract, and `form` the form of single settings.

mod destinations;
mod form;
mod objects;
mod policies;
mod read_destination;
mod read_policy;
mod read_selection;
mod runs;

use std::path::PathBuf;

use tonic::{Request, Response, Status};

use super::Services;
use super::fields::Fields;
use super::status::ApiError;
use crate::domain::backup::destination::{Destination, DestinationSettings};
use crate::domain::backup::policy::Policy;
use crate::domain::camera::CameraId;
use crate::domain::id;
use crate::proto;
use crate::proto::backup_service_server::BackupService;

/// Reads the settings of a destination by the rules of the contract, for commands that work without a server. Local ones
/// may lie in `roots`.
///
/// # Errors
/// The fields that are wrong, each with what is wrong with it.
pub fn destination_settings(
    described: proto::Destination,
    roots: &[PathBuf],
) -> Result<DestinationSettings, Vec<(String, String)>> {
    let mut fields = Fields::default();
    let settings = read_destination::settings(&mut fields, described.settings, None, roots);
    fields.of(settings)
}

#[tonic::async_trait]
impl BackupService for Services {
    async fn create_destination(
        &self,
        request: Request<proto::CreateDestinationRequest>,
    ) -> Result<Response<proto::Destination>, Status> {
        let created = destinations::create(self, request.into_inner()).await?;
        Ok(Response::new(created))
    }

    async fn get_destination(
        &self,
        request: Request<proto::GetDestinationRequest>,
    ) -> Result<Response<proto::Destination>, Status> {
        let id = &request.get_ref().destination_id;
        let found = self.destination("destination_id", id).await?;
        Ok(Response::new(found.into()))
    }

    async fn list_destinations(
        &self,
        request: Request<proto::ListDestinationsRequest>,
    ) -> Result<Response<proto::ListDestinationsResponse>, Status> {
        let page = destinations::list(self, request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn update_destination(
        &self,
        request: Request<proto::UpdateDestinationRequest>,
    ) -> Result<Response<proto::Destination>, Status> {
        let updated = destinations::update(self, request.into_inner()).await?;
        Ok(Response::new(updated))
    }

    async fn delete_destination(
        &self,
        request: Request<proto::DeleteDestinationRequest>,
    ) -> Result<Response<proto::DeleteDestinationResponse>, Status> {
        destinations::delete(self, request.into_inner()).await?;
        Ok(Response::new(proto::DeleteDestinationResponse {}))
    }

    async fn test_destination(
        &self,
        request: Request<proto::TestDestinationRequest>,
    ) -> Result<Response<proto::TestDestinationResponse>, Status> {
        let tested = destinations::test(self, request.into_inner()).await?;
        Ok(Response::new(tested))
    }

    async fn create_policy(
        &self,
        request: Request<proto::CreatePolicyRequest>,
    ) -> Result<Response<proto::Policy>, Status> {
        let created = policies::create(self, request.into_inner()).await?;
        Ok(Response::new(created))
    }

    async fn get_policy(
        &self,
        request: Request<proto::GetPolicyRequest>,
    ) -> Result<Response<proto::Policy>, Status> {
        let found = policies::get(self, &request.get_ref().policy_id).await?;
        Ok(Response::new(found))
    }

    async fn list_policies(
        &self,
        request: Request<proto::ListPoliciesRequest>,
    ) -> Result<Response<proto::ListPoliciesResponse>, Status> {
        let page = policies::list(self, request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn update_policy(
        &self,
        request: Request<proto::UpdatePolicyRequest>,
    ) -> Result<Response<proto::Policy>, Status> {
        let updated = policies::update(self, request.into_inner()).await?;
        Ok(Response::new(updated))
    }

    async fn delete_policy(
        &self,
        request: Request<proto::DeletePolicyRequest>,
    ) -> Result<Response<proto::DeletePolicyResponse>, Status> {
        policies::delete(self, request.into_inner()).await?;
        Ok(Response::new(proto::DeletePolicyResponse {}))
    }

    async fn run_policy(
        &self,
        request: Request<proto::RunPolicyRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        runs::run_policy(self, request.into_inner()).await
    }

    async fn create_backup(
        &self,
        request: Request<proto::CreateBackupRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        runs::create_backup(self, request.into_inner()).await
    }

    async fn verify_backup(
        &self,
        request: Request<proto::VerifyBackupRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        runs::verify_backup(self, request.into_inner()).await
    }

    async fn restore_backup(
        &self,
        request: Request<proto::RestoreBackupRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        runs::restore_backup(self, request.into_inner()).await
    }

    async fn list_backup_objects(
        &self,
        request: Request<proto::ListBackupObjectsRequest>,
    ) -> Result<Response<proto::ListBackupObjectsResponse>, Status> {
        let page = objects::list(self, request.into_inner()).await?;
        Ok(Response::new(page))
    }
}

impl Services {
    /// The destination with this id as it is shown, its secrets masked; `field` is where the caller wrote the id.
    async fn destination(&self, field: &str, id: &str) -> Result<Destination, ApiError> {
        known_form(field, id::DESTINATION, id, ApiError::destination_not_found)?;
        self.store
            .destination(id)
            .await?
            .ok_or_else(|| ApiError::destination_not_found(id))
    }

    /// The policy with this id; `field` is where the caller wrote it.
    async fn policy(&self, field: &str, id: &str) -> Result<Policy, ApiError> {
        known_form(field, id::POLICY, id, ApiError::policy_not_found)?;
        self.store
            .policy(id)
            .await?
            .ok_or_else(|| ApiError::policy_not_found(id))
    }
}

/// Refuses what cannot be an id, so that no odd text reaches logs or the database.
fn known_form(
    field: &str,
    prefix: &str,
    id: &str,
    not_found: fn(&str) -> ApiError,
) -> Result<(), ApiError> {
    if id.is_empty() {
        return Err(ApiError::field(field, "is required"));
    }
    if !id::is_valid(prefix, id) {
        return Err(not_found(&id.escape_debug().take(100).collect::<String>()));
    }
    Ok(())
}

/// Fails when one of these cameras is not in the catalog.
async fn require_cameras(services: &Services, camera_ids: &[CameraId]) -> Result<(), ApiError> {
    for id in camera_ids {
        if services.store.camera(id).await?.is_none() {
            return Err(ApiError::camera_not_found(id.as_str()));
        }
    }
    Ok(())
}
