//! A wire to a server on this machine, which can be cut and mended.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);

/// Carries connections to a port. While it is cut no byte passes either way, and nobody is told: as when a cable is
/// pulled, connections stay and are silent.
pub struct Wire {
    pub port: u16,
    is_whole: watch::Sender<bool>,
    /// Connections so far.
    count: watch::Receiver<usize>,
    carrying: JoinHandle<()>,
}

impl Wire {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let (is_whole, seen) = watch::channel(true);
        let (counted, count) = watch::channel(0);
        let carrying = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                counted.send_modify(|count| *count += 1);
                connections.spawn(carry(near, port, seen.clone()));
            }
        });
        Self {
            port: own_port,
            is_whole,
            count,
            carrying,
        }
    }

    /// Cuts it, and waits until somebody has given up a silent connection and tries another one.
    pub async fn cut_until_given_up(&self) {
        self.is_whole.send_replace(false);
        let mut count = self.count.clone();
        let before = *count.borrow_and_update();
        let tried = count.wait_for(|count| *count > before);
        tokio::time::timeout(GIVEN_UP_WITHIN, tried)
            .await
            .expect("a silent connection is given up")
            .unwrap();
    }

    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn carry(near: TcpStream, port: u16, mut is_whole: watch::Receiver<bool>) {
    if is_whole.wait_for(|is_whole| *is_whole).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = far.into_split();
    tokio::join!(
        pass(from_near, to_far, is_whole.clone()),
        pass(from_far, to_near, is_whole)
    );
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_whole: watch::Receiver<bool>,
) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let is_mended = is_whole.wait_for(|is_whole| *is_whole).await.is_ok();
        if !is_mended || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
