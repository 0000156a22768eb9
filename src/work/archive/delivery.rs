//! An archive without a file: it is packed while it is sent, as fast as the caller takes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_util::sync::CancellationToken;

use super::contents::Contents;
use super::pack::{self, OnBroken};
use super::preview::Preview;
use super::{ArchiveError, ArchiveWork, blocking};
use crate::clock;
use crate::domain::archive::{Archive, ArchiveContent};
use crate::domain::export_record::{ExportAction, ExportRecord};
use crate::hashing::Sha256;
use crate::packing::{Packed, Sink};

/// Archives that are streamed at the same time.
pub(super) const AT_ONCE: usize = 8;
/// Messages that wait for the caller.
const WAITING: usize = 4;
/// How long a caller may take nothing, before the archive is given up: its place, its open files and its threads are
/// wanted by others.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a message has at least, but the last.
const MESSAGE_MIN_BYTES: usize = 64 << 10;

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
        let contents = self.prepare(content, &cancel, |_, _| {}).await?;
        let (mut contents, zip_bytes) = self.size(contents, &cancel).await?;
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
            let sink = Outbox::new(sender.clone(), PATIENCE);
            let packing = {
                let work = Arc::clone(&work);
                blocking(move || {
                    let (sink, packed) = pack::pack(
                        &mut contents,
                        work.signer.seal(),
                        sink,
                        OnBroken::Fail,
                        &cancel,
                        |_| {},
                    )?;
                    sink.finish().map_err(ArchiveError::written)?;
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
            // A caller that takes nothing more keeps only this task, which waits to tell it how it ended.
            drop(place);
            // A caller that is gone wants to know nothing more.
            let _ = sender.send(ended).await;
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
///
/// The records of a zip are small, and a message costs as much as tens of kilobytes of data. What is small is gathered,
/// so that every message but the last has at least [`MESSAGE_MIN_BYTES`]; what is large is passed on as it is.
struct Outbox {
    sender: mpsc::Sender<Result<Parcel, ArchiveError>>,
    runtime: Handle,
    patience: Duration,
    gathered: Vec<u8>,
}

impl Outbox {
    fn new(sender: mpsc::Sender<Result<Parcel, ArchiveError>>, patience: Duration) -> Self {
        Self {
            sender,
            runtime: Handle::current(),
            patience,
            gathered: Vec::new(),
        }
    }

    /// Sends what is still gathered.
    fn finish(mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let last = std::mem::take(&mut self.gathered);
        self.send(last.into())
    }

    fn send(&self, bytes: Bytes) -> io::Result<()> {
        let sending = self
            .sender
            .send_timeout(Ok(Parcel::Data(bytes)), self.patience);
        self.runtime.block_on(sending).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => io::ErrorKind::TimedOut.into(),
            SendTimeoutError::Closed(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

impl Sink for Outbox {
    fn put(&mut self, bytes: &Bytes) -> io::Result<()> {
        let mut bytes = bytes.clone();
        if !self.gathered.is_empty() || bytes.len() < MESSAGE_MIN_BYTES {
            let missing = MESSAGE_MIN_BYTES - self.gathered.len();
            let part = bytes.split_to(missing.min(bytes.len()));
            self.gathered.reserve_exact(missing);
            self.gathered.extend_from_slice(&part);
            if self.gathered.len() < MESSAGE_MIN_BYTES {
                return Ok(());
            }
            let full = std::mem::take(&mut self.gathered);
            self.send(full.into())?;
        }
        if bytes.len() >= MESSAGE_MIN_BYTES {
            return self.send(bytes);
        }
        self.gathered.extend_from_slice(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    fn runtime() -> &'static tokio::runtime::Runtime {
        static RUNTIME: LazyLock<tokio::runtime::Runtime> =
            LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime"));
        &RUNTIME
    }

    fn outbox(sender: mpsc::Sender<Result<Parcel, ArchiveError>>) -> Outbox {
        let _here = runtime().enter();
        Outbox::new(sender, Duration::from_millis(50))
    }

    /// What the caller receives of these.
    fn sent(parts: &[&[u8]]) -> Vec<Bytes> {
        let (sender, mut receiver) = mpsc::channel(1000);
        let mut outbox = outbox(sender);
        for part in parts {
            outbox
                .put(&Bytes::copy_from_slice(part))
                .expect("a receiver");
        }
        outbox.finish().expect("a receiver");
        std::iter::from_fn(|| match receiver.blocking_recv()? {
            Ok(Parcel::Data(bytes)) => Some(bytes),
            other => panic!("no data: {other:?}"),
        })
        .collect()
    }

    #[test]
    fn every_message_but_the_last_is_large_and_nothing_is_lost() {
        let sizes = [
            vec![30; 10_000],
            vec![30, 512 << 10, 46, 40_000, 46, 1, 65_536, 65_535, 3],
            vec![MESSAGE_MIN_BYTES],
            vec![MESSAGE_MIN_BYTES - 1, 1],
            vec![MESSAGE_MIN_BYTES - 1, 2],
            vec![0, 5],
            vec![],
        ];
        for sizes in sizes {
            let whole: Vec<u8> = (0..sizes.iter().sum::<usize>())
                .map(|at| (at / 251) as u8 ^ at as u8)
                .collect();
            let mut rest = whole.as_slice();
            let parts: Vec<&[u8]> = sizes
                .iter()
                .map(|size| rest.split_off(..*size).expect("so many bytes"))
                .collect();
            let messages = sent(&parts);
            assert!(messages.concat() == whole, "{sizes:?}");
            let lengths: Vec<usize> = messages.iter().map(Bytes::len).collect();
            let (last, others) = lengths.split_last().unwrap_or((&1, &[]));
            assert!(*last > 0, "{lengths:?}");
            assert!(
                others.iter().all(|length| *length >= MESSAGE_MIN_BYTES),
                "{lengths:?}"
            );
            assert!(
                lengths.iter().all(|length| *length <= 1 << 20),
                "{lengths:?}"
            );
        }
    }

    #[test]
    fn a_caller_that_is_gone_ends_the_packing() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let mut outbox = outbox(sender);
        let large = Bytes::from(vec![0; MESSAGE_MIN_BYTES]);
        let error = outbox.put(&large).expect_err("nobody receives");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_caller_that_takes_nothing_ends_the_packing_and_hears_so_when_it_takes_again() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = outbox(sender);
        let large = Bytes::from(vec![0; MESSAGE_MIN_BYTES]);
        outbox.put(&large).expect("there is room for one");
        let error = outbox.put(&large).expect_err("nobody takes the first");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let ended = ArchiveError::written(error);
        assert!(matches!(ended, ArchiveError::Untaken), "{ended}");
        assert!(matches!(
            receiver.blocking_recv(),
            Some(Ok(Parcel::Data(_)))
        ));
    }
}
