//! The calls of the contract that have one request and one answer.

use std::time::Duration;

use crate::proto::{
    Archive, Camera, CancelJobRequest, Clip, CreateArchiveRequest, CreateBackupRequest,
    CreateClipRequest, CreateDestinationRequest, CreatePolicyRequest, DeleteArchiveRequest,
    DeleteArchiveResponse, DeleteCameraRequest, DeleteCameraResponse, DeleteClipRequest,
    DeleteClipResponse, DeleteDestinationRequest, DeleteDestinationResponse, DeletePolicyRequest,
    DeletePolicyResponse, Destination, GetArchiveRequest, GetCameraRequest, GetClipRequest,
    GetDestinationRequest, GetJobRequest, GetPolicyRequest, GetTimelineRequest, Job,
    ListArchivesRequest, ListArchivesResponse, ListBackupObjectsRequest, ListBackupObjectsResponse,
    ListCamerasRequest, ListCamerasResponse, ListClipsRequest, ListClipsResponse,
    ListDestinationsRequest, ListDestinationsResponse, ListJobsRequest, ListJobsResponse,
    ListPoliciesRequest, ListPoliciesResponse, ListSegmentsRequest, ListSegmentsResponse,
    MaterializeClipRequest, Policy, RestoreBackupRequest, RetryJobRequest, RunPolicyRequest,
    SetEvidenceLockRequest, SetEvidenceLockResponse, TestDestinationRequest,
    TestDestinationResponse, Timeline, UpdateDestinationRequest, UpdatePolicyRequest,
    UpsertCameraRequest, VerifyArchiveRequest, VerifyBackupRequest,
};

/// The longest that the server holds an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A request of a method that has one request and one answer; see [`Footage::call`](super::Footage::call).
pub trait Call: sealed::Sealed + prost::Message + Clone + Default + 'static {
    /// What the method answers.
    type Answer: prost::Message + Default + 'static;
    /// The method, `/package.Service/Method`.
    const PATH: &'static str;

    /// Gives the request an id of its own where it can have one and the caller chose none, so that the server knows a
    /// repeated call.
    #[doc(hidden)]
    fn identify(&mut self) {}

    /// How long the request asks the server to hold the answer.
    #[doc(hidden)]
    fn held_for(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether a second call does no more than one.
    #[doc(hidden)]
    const IS_REPEATABLE: bool;
}

mod sealed {
    /// The methods are those of the contract.
    pub trait Sealed {}
}

/// `reads` changes nothing. `makes` and `starts` have a request id, and `starts` may hold its answer. `changes` has nothing
/// that would tell the server of a repetition.
macro_rules! calls {
    ($($service:ident { $($kind:ident $method:ident($request:ty) -> $answer:ty;)* })*) => {
        $($(
            impl sealed::Sealed for $request {}
            impl Call for $request {
                type Answer = $answer;
                const PATH: &'static str =
                    concat!("/heldar.footage.v1.", stringify!($service), "/", stringify!($method));
                calls!(@$kind);
            }
        )*)*
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$($((<$request as Call>::PATH, stringify!($kind)),)*)*];
    };
    (@reads) => {
        const IS_REPEATABLE: bool = true;
    };
    (@changes) => {
        const IS_REPEATABLE: bool = false;
    };
    (@makes) => {
        const IS_REPEATABLE: bool = true;

        fn identify(&mut self) {
            if self.request_id.is_empty() {
                self.request_id = uuid::Uuid::now_v7().to_string();
            }
        }
    };
    (@starts) => {
        calls!(@makes);

        fn held_for(&self) -> Duration {
            // A wait that is negative, or longer than any answer is held, is the server's to refuse.
            let wait: Duration = self.wait.and_then(|wait| wait.try_into().ok()).unwrap_or_default();
            wait.min(LONGEST_WAIT)
        }
    };
}

calls! {
    CatalogService {
        changes UpsertCamera(UpsertCameraRequest) -> Camera;
        reads GetCamera(GetCameraRequest) -> Camera;
        reads ListCameras(ListCamerasRequest) -> ListCamerasResponse;
        changes DeleteCamera(DeleteCameraRequest) -> DeleteCameraResponse;
        reads ListSegments(ListSegmentsRequest) -> ListSegmentsResponse;
        reads GetTimeline(GetTimelineRequest) -> Timeline;
        changes SetEvidenceLock(SetEvidenceLockRequest) -> SetEvidenceLockResponse;
    }
    ClipService {
        starts CreateClip(CreateClipRequest) -> Job;
        reads GetClip(GetClipRequest) -> Clip;
        reads ListClips(ListClipsRequest) -> ListClipsResponse;
        changes DeleteClip(DeleteClipRequest) -> DeleteClipResponse;
        starts MaterializeClip(MaterializeClipRequest) -> Job;
    }
    ArchiveService {
        starts CreateArchive(CreateArchiveRequest) -> Job;
        reads GetArchive(GetArchiveRequest) -> Archive;
        reads ListArchives(ListArchivesRequest) -> ListArchivesResponse;
        changes DeleteArchive(DeleteArchiveRequest) -> DeleteArchiveResponse;
        starts VerifyArchive(VerifyArchiveRequest) -> Job;
    }
    BackupService {
        makes CreateDestination(CreateDestinationRequest) -> Destination;
        reads GetDestination(GetDestinationRequest) -> Destination;
        reads ListDestinations(ListDestinationsRequest) -> ListDestinationsResponse;
        changes UpdateDestination(UpdateDestinationRequest) -> Destination;
        changes DeleteDestination(DeleteDestinationRequest) -> DeleteDestinationResponse;
        changes TestDestination(TestDestinationRequest) -> TestDestinationResponse;
        makes CreatePolicy(CreatePolicyRequest) -> Policy;
        reads GetPolicy(GetPolicyRequest) -> Policy;
        reads ListPolicies(ListPoliciesRequest) -> ListPoliciesResponse;
        changes UpdatePolicy(UpdatePolicyRequest) -> Policy;
        changes DeletePolicy(DeletePolicyRequest) -> DeletePolicyResponse;
        starts RunPolicy(RunPolicyRequest) -> Job;
        starts CreateBackup(CreateBackupRequest) -> Job;
        starts VerifyBackup(VerifyBackupRequest) -> Job;
        starts RestoreBackup(RestoreBackupRequest) -> Job;
        reads ListBackupObjects(ListBackupObjectsRequest) -> ListBackupObjectsResponse;
    }
    JobService {
        reads GetJob(GetJobRequest) -> Job;
        reads ListJobs(ListJobsRequest) -> ListJobsResponse;
        changes CancelJob(CancelJobRequest) -> Job;
        starts RetryJob(RetryJobRequest) -> Job;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::{ALL, Call as _, CreateClipRequest};
    use crate::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn every_call_of_the_contract_is_of_the_kind_that_its_request_is() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let fields: BTreeMap<String, Vec<&str>> = files
            .iter()
            .flat_map(|file| file.message_type.iter().map(move |message| (file, message)))
            .map(|(file, message)| {
                let names = message.field.iter().map(|field| field.name()).collect();
                (format!(".{}.{}", file.package(), message.name()), names)
            })
            .collect();
        let mut expected = BTreeMap::new();
        for file in &files {
            for service in &file.service {
                let unary = service
                    .method
                    .iter()
                    .filter(|method| !method.client_streaming() && !method.server_streaming());
                for method in unary {
                    let has = |name| fields[method.input_type()].contains(&name);
                    let kind = match (has("request_id"), has("wait")) {
                        (true, true) => "starts",
                        (true, false) => "makes",
                        (false, _) if method.name().starts_with("Get") => "reads",
                        (false, _) if method.name().starts_with("List") => "reads",
                        (false, _) => "changes",
                    };
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    expected.insert(path, kind);
                }
            }
        }
        let known: BTreeMap<String, &str> = ALL
            .iter()
            .map(|(path, kind)| ((*path).to_owned(), *kind))
            .collect();
        assert_eq!(known, expected);
    }

    #[test]
    fn a_request_gets_an_id_unless_it_has_one() {
        let mut request = CreateClipRequest::default();
        request.identify();
        let chosen = request.request_id.clone();
        assert!(uuid::Uuid::parse_str(&chosen).is_ok());
        request.identify();
        assert_eq!(request.request_id, chosen);
    }
}
