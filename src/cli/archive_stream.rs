//! `footage archive --stream`: receiving a zip while it is made. There is no resuming, and only the trailer and the
//! call's good end make an archive of what came.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use heldar_footage::proto::stream_archive_response::Content;
use heldar_footage::proto::{Archive, StreamArchiveHeader, StreamArchiveRequest};
use tonic::Status;

use super::archive_report::archive_lines;
use super::connection::Server;
use super::delivery::DeliveryArgs;
use super::description;
use super::download::SILENCE;
use super::failure::CliError;
use super::json;
use super::part_file::{Arrived, PartFile, Promise, Target};
use super::progress::ProgressView;
use super::signals::Signals;

/// Where the zip goes.
pub enum Destination {
    /// A file, or a folder that takes it under the server's name.
    File(Target),
    /// Whatever reads this program's output.
    StandardOutput,
}

impl Destination {
    /// Checks, before any work is done, that the zip can go there.
    fn check(args: &DeliveryArgs) -> Result<Self, CliError> {
        match &args.output {
            Some(path) if path == Path::new("-") => {
                if args.json {
                    Err(CliError::Usage(
                        "the archive and --json cannot both go to standard output".into(),
                    ))
                } else if io::stdout().is_terminal() {
                    Err(CliError::Usage(
                        "standard output is a terminal: send it into a file or a program".into(),
                    ))
                } else {
                    Ok(Self::StandardOutput)
                }
            }
            Some(path) => Ok(Self::File(Target::check(path, args.force)?)),
            None => Err(CliError::Usage("--stream needs --output".into())),
        }
    }
}

/// Receives the archive that `request` makes of the server's knowledge, and prints what was delivered.
///
/// # Errors
/// [`CliError`] when the archive did not arrive whole; no file of it stays then.
pub async fn run(
    args: &DeliveryArgs,
    request: impl AsyncFnOnce(&Server) -> Result<StreamArchiveRequest, CliError>,
) -> Result<(), CliError> {
    let destination = Destination::check(args)?;
    let mut signals = Signals::listen()?;
    let server = args.server.connect().await?;
    let request = request(&server).await?;
    let mut view = ProgressView::new(args.json);
    let (archive, file) = receive(&server, request, &destination, &mut view, &mut signals).await?;
    drop(view);
    if args.json {
        return json::print("Archive", &archive);
    }
    let lines = archive_lines(&archive, None, file.as_deref());
    match destination {
        Destination::File(_) => description::print(&lines),
        Destination::StandardOutput => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            Ok(())
        }
    }
}

/// Receives the archive, and returns what it is and the file it is in.
///
/// # Errors
/// [`CliError`] when it did not arrive whole; no file of it stays then.
pub async fn receive(
    server: &Server,
    request: StreamArchiveRequest,
    destination: &Destination,
    view: &mut ProgressView,
    signals: &mut Signals,
) -> Result<(Archive, Option<PathBuf>), CliError> {
    tokio::select! {
        received = receive_all(server, request, destination, view) => received,
        _ = signals.next() => Err(CliError::Interrupted("interrupted; nothing of the archive is kept".into())),
    }
}

async fn receive_all(
    server: &Server,
    request: StreamArchiveRequest,
    destination: &Destination,
    view: &mut ProgressView,
) -> Result<(Archive, Option<PathBuf>), CliError> {
    view.show_preparing();
    let mut stream = server
        .insist(async || server.archives().stream_archive(request.clone()).await)
        .await?;
    // Cuts are made before the header, and take as long as they take; a dead connection is noticed by its keep-alive.
    let header = match stream.message().await {
        Ok(Some(message)) => match message.content {
            Some(Content::Header(header)) => header,
            _ => return Err(out_of_order()),
        },
        Ok(None) => return Err(ended_early()),
        Err(status) => return Err(server.failure(status)),
    };
    let mut sink = Sink::open(destination, &header)?;
    let total_bytes = u64::try_from(header.size_bytes).unwrap_or_default();
    let begun = Instant::now();
    let mut archive = None;
    // The stream is read to its end: an error may still come after the trailer.
    while let Some(message) = tokio::time::timeout(SILENCE, stream.message())
        .await
        .unwrap_or_else(|_| Err(Status::unavailable("the server fell silent")))
        .map_err(|status| server.failure(status))?
    {
        match message.content {
            Some(Content::Data(data)) if archive.is_none() => {
                sink.write(data).await?;
                view.show_download(sink.length_bytes(), total_bytes, begun.elapsed());
            }
            Some(Content::Trailer(trailer)) if archive.is_none() => {
                archive = Some(trailer.archive.ok_or_else(out_of_order)?);
            }
            Some(_) => return Err(out_of_order()),
            None => {}
        }
    }
    let archive = archive.ok_or_else(ended_early)?;
    if archive.size_bytes != header.size_bytes {
        return Err(CliError::local(
            "the archive cannot be used",
            "the server announced another size than it delivered",
        ));
    }
    let promise = Promise {
        size_bytes: archive.size_bytes,
        sha256: archive.sha256.clone(),
    };
    let file = sink.finish(&promise)?;
    Ok((archive, file))
}

fn ended_early() -> CliError {
    CliError::local(
        "the archive did not arrive whole",
        "the server ended the stream early",
    )
}

fn out_of_order() -> CliError {
    CliError::local(
        "the archive cannot be used",
        "the server sent its parts in the wrong order",
    )
}

/// What the bytes are written to.
enum Sink {
    File(PartFile),
    StandardOutput(Arrived),
}

impl Sink {
    fn open(destination: &Destination, header: &StreamArchiveHeader) -> Result<Self, CliError> {
        match destination {
            Destination::File(target) => {
                let name = &header.file_name;
                Ok(Self::File(PartFile::create(target, name, name)?))
            }
            Destination::StandardOutput => Ok(Self::StandardOutput(Arrived::default())),
        }
    }

    async fn write(&mut self, data: Vec<u8>) -> Result<(), CliError> {
        match self {
            Self::File(part) => part.write(&data),
            Self::StandardOutput(arrived) => {
                arrived.take(&data);
                // A reader that stalls must not hold up Ctrl-C.
                let written = tokio::task::spawn_blocking(move || {
                    let mut out = io::stdout().lock();
                    out.write_all(&data)?;
                    out.flush()
                });
                // A reader that leaves early has no archive; for text it would be a good end.
                written
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)))
                    .map_err(|error| {
                        CliError::local("standard output does not take the archive", error)
                    })
            }
        }
    }

    fn length_bytes(&self) -> u64 {
        match self {
            Self::File(part) => part.length_bytes(),
            Self::StandardOutput(arrived) => arrived.length_bytes(),
        }
    }

    fn finish(self, promise: &Promise) -> Result<Option<PathBuf>, CliError> {
        match self {
            Self::File(part) => part.finish(promise).map(Some),
            Self::StandardOutput(arrived) => arrived.check(promise).map(|()| None),
        }
    }
}
