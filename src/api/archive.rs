//! ArchiveService: a later version brings it; until then every method says so.

use tonic::{Request, Response, Status};

use super::Services;
use super::status::ApiError;
use crate::proto;
use crate::proto::archive_service_server::ArchiveService;

#[tonic::async_trait]
impl ArchiveService for Services {
    async fn create_archive(
        &self,
        _: Request<proto::CreateArchiveRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        Err(later("ArchiveService/CreateArchive"))
    }

    async fn get_archive(
        &self,
        _: Request<proto::GetArchiveRequest>,
    ) -> Result<Response<proto::Archive>, Status> {
        Err(later("ArchiveService/GetArchive"))
    }

    async fn list_archives(
        &self,
        _: Request<proto::ListArchivesRequest>,
    ) -> Result<Response<proto::ListArchivesResponse>, Status> {
        Err(later("ArchiveService/ListArchives"))
    }

    async fn delete_archive(
        &self,
        _: Request<proto::DeleteArchiveRequest>,
    ) -> Result<Response<proto::DeleteArchiveResponse>, Status> {
        Err(later("ArchiveService/DeleteArchive"))
    }

    type DownloadArchiveStream =
        tokio_stream::Empty<Result<proto::DownloadArchiveResponse, Status>>;

    async fn download_archive(
        &self,
        _: Request<proto::DownloadArchiveRequest>,
    ) -> Result<Response<Self::DownloadArchiveStream>, Status> {
        Err(later("ArchiveService/DownloadArchive"))
    }

    type StreamArchiveStream = tokio_stream::Empty<Result<proto::StreamArchiveResponse, Status>>;

    async fn stream_archive(
        &self,
        _: Request<proto::StreamArchiveRequest>,
    ) -> Result<Response<Self::StreamArchiveStream>, Status> {
        Err(later("ArchiveService/StreamArchive"))
    }

    async fn verify_archive(
        &self,
        _: Request<proto::VerifyArchiveRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        Err(later("ArchiveService/VerifyArchive"))
    }
}

fn later(method: &'static str) -> Status {
    ApiError::NotInThisVersion { method }.into()
}
