//! What the server finds in its data folder: who has it, which key signs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use heldar_footage::packing::{KnownKeys, SigningKey};
use heldar_footage::work::archive::Signer;
use rustix::fs::{FlockOperation, flock};

use super::service::ServiceError;
use super::settings::Settings;

/// Makes a folder with those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), ServiceError> {
    std::fs::create_dir_all(path).map_err(|source| ServiceError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// The key that signs archives, and all that ever did.
pub(super) fn signer(settings: &Settings) -> Result<Signer, ServiceError> {
    let path = settings.signing_key_path();
    let key = if settings.signing_key.is_some() {
        SigningKey::load(&path).map_err(ServiceError::GivenKey)?
    } else {
        SigningKey::load_or_create(&path)?
    };
    let known = settings.data_dir.join("signing_keys.pub");
    KnownKeys::remember(&known, &key)?;
    Ok(Signer {
        known: KnownKeys::read(&known)?,
        key,
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    })
}

/// The file whose lock is the folder's.
pub(super) fn lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join("footage.lock")
}

/// Takes the data folder for this process and tells which process had it before. The lock ends with the process,
/// however it ends, so whoever gets it knows that the owner before is gone.
pub(super) fn lock_data_folder(data_dir: &Path) -> Result<(File, String), ServiceError> {
    let path = lock_path(data_dir);
    let failed = |source| ServiceError::Lock {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(ServiceError::InUse {
                path: data_dir.to_owned(),
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    let mut owner = String::new();
    file.read_to_string(&mut owner).map_err(failed)?;
    Ok((file, owner.trim().to_owned()))
}

/// Writes down whose the folder is now.
pub(super) fn write_owner(lock: &mut File, owner: &str) -> std::io::Result<()> {
    lock.rewind()?;
    lock.set_len(0)?;
    lock.write_all(owner.as_bytes())?;
    lock.sync_data()
}
