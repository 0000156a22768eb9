//! BackupService: a later version brings it; until then every method says so.

mod form;
mod read_destination;
mod read_policy;
mod read_selection;

use tonic::{Request, Response, Status};

use super::Services;
use super::status::ApiError;
use crate::proto;
use crate::proto::backup_service_server::BackupService;

#[tonic::async_trait]
impl BackupService for Services {
    async fn create_destination(
        &self,
        _: Request<proto::CreateDestinationRequest>,
    ) -> Result<Response<proto::Destination>, Status> {
        Err(later("BackupService/CreateDestination"))
    }

    async fn get_destination(
        &self,
        _: Request<proto::GetDestinationRequest>,
    ) -> Result<Response<proto::Destination>, Status> {
        Err(later("BackupService/GetDestination"))
    }

    async fn list_destinations(
        &self,
        _: Request<proto::ListDestinationsRequest>,
    ) -> Result<Response<proto::ListDestinationsResponse>, Status> {
        Err(later("BackupService/ListDestinations"))
    }

    async fn update_destination(
        &self,
        _: Request<proto::UpdateDestinationRequest>,
    ) -> Result<Response<proto::Destination>, Status> {
        Err(later("BackupService/UpdateDestination"))
    }

    async fn delete_destination(
        &self,
        _: Request<proto::DeleteDestinationRequest>,
    ) -> Result<Response<proto::DeleteDestinationResponse>, Status> {
        Err(later("BackupService/DeleteDestination"))
    }

    async fn test_destination(
        &self,
        _: Request<proto::TestDestinationRequest>,
    ) -> Result<Response<proto::TestDestinationResponse>, Status> {
        Err(later("BackupService/TestDestination"))
    }

    async fn create_policy(
        &self,
        _: Request<proto::CreatePolicyRequest>,
    ) -> Result<Response<proto::Policy>, Status> {
        Err(later("BackupService/CreatePolicy"))
    }

    async fn get_policy(
        &self,
        _: Request<proto::GetPolicyRequest>,
    ) -> Result<Response<proto::Policy>, Status> {
        Err(later("BackupService/GetPolicy"))
    }

    async fn list_policies(
        &self,
        _: Request<proto::ListPoliciesRequest>,
    ) -> Result<Response<proto::ListPoliciesResponse>, Status> {
        Err(later("BackupService/ListPolicies"))
    }

    async fn update_policy(
        &self,
        _: Request<proto::UpdatePolicyRequest>,
    ) -> Result<Response<proto::Policy>, Status> {
        Err(later("BackupService/UpdatePolicy"))
    }

    async fn delete_policy(
        &self,
        _: Request<proto::DeletePolicyRequest>,
    ) -> Result<Response<proto::DeletePolicyResponse>, Status> {
        Err(later("BackupService/DeletePolicy"))
    }

    async fn run_policy(
        &self,
        _: Request<proto::RunPolicyRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        Err(later("BackupService/RunPolicy"))
    }

    async fn create_backup(
        &self,
        _: Request<proto::CreateBackupRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        Err(later("BackupService/CreateBackup"))
    }

    async fn verify_backup(
        &self,
        _: Request<proto::VerifyBackupRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        Err(later("BackupService/VerifyBackup"))
    }

    async fn restore_backup(
        &self,
        _: Request<proto::RestoreBackupRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        Err(later("BackupService/RestoreBackup"))
    }

    async fn list_backup_objects(
        &self,
        _: Request<proto::ListBackupObjectsRequest>,
    ) -> Result<Response<proto::ListBackupObjectsResponse>, Status> {
        Err(later("BackupService/ListBackupObjects"))
    }
}

fn later(method: &'static str) -> Status {
    ApiError::NotInThisVersion { method }.into()
}
