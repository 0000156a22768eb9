//! The settings that lead to a server, as callers of the service write them.

use heldar_footage::domain::backup::destination::{FtpSettings, FtpTls, S3Settings, SftpSettings};
use heldar_footage::proto;
use heldar_footage::proto::destination::Settings;

/// A destination at an SSH server. Only the host keys of `sftp` are accepted.
pub fn sftp_destination(sftp: &SftpSettings) -> proto::Destination {
    destination(Settings::Sftp(proto::SftpSettings {
        host: sftp.host.clone(),
        port: sftp.port.into(),
        user: sftp.user.clone(),
        password: sftp.password.reveal().to_owned(),
        private_key: sftp.private_key.reveal().to_owned(),
        private_key_passphrase: sftp.private_key_passphrase.reveal().to_owned(),
        host_key_check: proto::HostKeyCheck::Pinned.into(),
        host_keys: sftp.host_keys.clone(),
        path: sftp.path.clone(),
    }))
}

/// A destination at an FTP server.
pub fn ftp_destination(ftp: &FtpSettings) -> proto::Destination {
    let tls = match ftp.tls {
        FtpTls::Explicit => proto::FtpTls::Explicit,
        FtpTls::Implicit => proto::FtpTls::Implicit,
        FtpTls::None => proto::FtpTls::None,
    };
    destination(Settings::Ftp(proto::FtpSettings {
        host: ftp.host.clone(),
        port: ftp.port.into(),
        user: ftp.user.clone(),
        password: ftp.password.reveal().to_owned(),
        tls: tls.into(),
        ca_certificates: ftp.ca_certificates.clone(),
        path: ftp.path.clone(),
    }))
}

/// A destination at an S3 server that is nobody's in particular.
pub fn s3_destination(s3: &S3Settings) -> proto::Destination {
    destination(Settings::S3(proto::S3Settings {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        provider: proto::S3Provider::Other.into(),
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        access_key: s3.access_key.clone(),
        secret_key: s3.secret_key.reveal().to_owned(),
        path_style: s3.path_style,
        ..Default::default()
    }))
}

fn destination(settings: Settings) -> proto::Destination {
    proto::Destination {
        settings: Some(settings),
        ..Default::default()
    }
}
