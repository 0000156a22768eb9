//! What the ledger says is at a destination.

use super::read_selection::{in_order, object_state, selection};
use crate::api::Services;
use crate::api::fields::Fields;
use crate::api::page::{Tokens, fit, page_size};
use crate::api::status::ApiError;
use crate::domain::backup::object::BackupObject;
use crate::proto;
use crate::repository::ObjectFilter;

pub(super) async fn list(
    services: &Services,
    mut request: proto::ListBackupObjectsRequest,
) -> Result<proto::ListBackupObjectsResponse, ApiError> {
    let (asked_size, page_token) = (
        std::mem::take(&mut request.page_size),
        std::mem::take(&mut request.page_token),
    );
    let tokens = Tokens::of("ListBackupObjects", &request);
    let mut fields = Fields::default();
    fields.required("destination_id", &request.destination_id);
    let segment_id = fields.text("segment_id", request.segment_id);
    let job_id = fields.text("job_id", request.job_id);
    let filter = ObjectFilter {
        selection: selection(
            &mut fields,
            request.start_time,
            request.end_time,
            &request.camera_ids,
            request.evidence_only,
        ),
        segment_id: (!segment_id.is_empty()).then_some(segment_id),
        job_id: (!job_id.is_empty()).then_some(job_id),
        state: object_state(&mut fields, request.state),
    };
    let size = page_size(&mut fields, asked_size);
    fields.check()?;
    in_order(filter.selection.start, filter.selection.end)?;
    let page = tokens.page(size, &page_token)?;
    let destination = services
        .destination("destination_id", &request.destination_id)
        .await?;
    let (objects, next) = services
        .store
        .objects(&destination.id, &filter, &page)
        .await?;
    let row = |object: BackupObject| {
        let key = (
            object.window.start().timestamp_micros(),
            object.segment_id.clone(),
        );
        (key, proto::BackupObject::from(object))
    };
    let (objects, next) = fit(objects.into_iter().map(row).collect(), next);
    Ok(proto::ListBackupObjectsResponse {
        objects,
        next_page_token: tokens.token(next),
    })
}
