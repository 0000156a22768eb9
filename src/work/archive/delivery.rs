//! An archive without a file: it is packed while it is sent, as fast as the caller takes it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::pack::{self, OnBroken};
use super::preview::Preview;
use super::{ArchiveError, ArchiveWork, blocking};
use crate::clock;
use crate::domain::archive::{Archive, ArchiveContent, ExportAction, ExportRecord};
use crate::packing::{Packed, Sha256, Sink};

/// Archives that are streamed at the same time.
pub(super) const AT_ONCE: usize = 8;
/// Chunks that wait for the caller.
const WAITING: usize = 4;

/// What is delivered, piece by piece.
#[derive(Debug)]
pub enum Parcel {
    /// The next bytes.
    Data(Bytes),
    /// All bytes have been sent; this is what they were. Nothing of it is kept.
    Done(Box<Archive>),
}

/// An archive on its way to a caller. Dropping it ends the work.
#[derive(Debug)]
pub struct Delivery {
    /// Name to store it under.
    pub file_name: String,
    /// What will be in it; its size is exact.
    pub preview: Preview,
    /// What comes, in order.
    pub parcels: mpsc::Receiver<Result<Parcel, ArchiveError>>,
}

impl ArchiveWork {
    /// Begins to deliver an archive of `content`. What has to be cut is cut before this returns.
    pub async fn deliver(
        self: &Arc<Self>,
        content: &ArchiveContent,
        created_by: &str,
        peer: &str,
        cancel: CancellationToken,
    ) -> Result<Delivery, ArchiveError> {
        let place = Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| ArchiveError::TooManyStreams(AT_ONCE))?;
        let mut contents = self.prepare(content, &cancel, |_, _| {}).await?;
        let zip_bytes = pack::size(&contents, self.seal())?;
        let file_name = contents.delivered.map_or_else(
            || "footage.zip".to_owned(),
            |range| {
                let text = |time: chrono::DateTime<chrono::Utc>| time.format("%Y%m%dT%H%M%SZ");
                format!("footage_{}_{}.zip", text(range.start()), text(range.end()))
            },
        );
        let preview = Preview::of_ready(&contents, zip_bytes);
        // Who goes away shortly before the end has the footage all the same.
        self.note_begin(&contents, zip_bytes, created_by, peer)
            .await?;
        let (sender, parcels) = mpsc::channel(WAITING);
        let (work, named) = (Arc::clone(self), file_name.clone());
        let (created_by, peer) = (created_by.to_owned(), peer.to_owned());
        tokio::spawn(async move {
            let sink = Outbox(sender.clone());
            let packing = {
                let work = Arc::clone(&work);
                blocking(move || {
                    let (_, packed) = pack::pack(
                        &mut contents,
                        work.seal(),
                        sink,
                        OnBroken::Fail,
                        &cancel,
                        |_| {},
                    )?;
                    Ok((contents, packed))
                })
            };
            let ended = match packing.await {
                Ok((contents, packed)) => {
                    let archive = Archive {
                        file_name: named,
                        created_by,
                        ..work.describe(&contents, packed, clock::now())
                    };
                    let record =
                        ExportRecord::of(&archive, ExportAction::Streamed, archive.create_time);
                    work.store
                        .record_export(&record.by(peer, "whole"))
                        .await
                        .map(|()| Parcel::Done(Box::new(archive)))
                        .map_err(ArchiveError::from)
                }
                Err(error) => Err(error),
            };
            // A caller that is gone wants to know nothing more.
            let _ = sender.send(ended).await;
            drop(place);
        });
        Ok(Delivery {
            file_name,
            preview,
            parcels,
        })
    }

    /// Writes down that an archive is about to be sent. Its hash is known when all of it has been.
    async fn note_begin(
        &self,
        contents: &Contents,
        zip_bytes: u64,
        created_by: &str,
        peer: &str,
    ) -> Result<(), ArchiveError> {
        let announced = Packed {
            size_bytes: zip_bytes,
            sha256: Sha256::default(),
        };
        let archive = Archive {
            created_by: created_by.to_owned(),
            ..self.describe(contents, announced, clock::now())
        };
        let record = ExportRecord {
            sha256: String::new(),
            ..ExportRecord::of(&archive, ExportAction::Streamed, archive.create_time)
        };
        Ok(self.store.record_export(&record.by(peer, "begun")).await?)
    }
}

/// Sends what is packed to the caller, and waits while the caller does not take it.
struct Outbox(mpsc::Sender<Result<Parcel, ArchiveError>>);

impl Sink for Outbox {
    fn put(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.0
            .blocking_send(Ok(Parcel::Data(bytes.clone())))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
