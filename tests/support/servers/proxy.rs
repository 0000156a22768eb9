//! A proxy in front of a server of this machine that can cut every connection, and swallow everything.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Passed,
    /// Nothing comes through, and nobody is told.
    Swallowed,
    /// Connections that existed when the count was another one are ended.
    Cut(u32),
}

pub struct Proxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
    /// Connections so far.
    count: watch::Receiver<usize>,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Passed));
        let modes = Arc::clone(&mode);
        let (counted, count) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mode = modes.subscribe();
                counted.send_modify(|count| *count += 1);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let begun = *mode.borrow();
                    let mut cut = mode.clone();
                    let ended = cut.wait_for(|now| matches!(now, Mode::Cut(_)) && *now != begun);
                    tokio::select! {
                        () = pass(from_client, to_server, mode.clone()) => {}
                        () = pass(from_server, to_client, mode.clone()) => {}
                        _ = ended => {}
                    }
                });
            }
        });
        Self {
            port: own,
            mode,
            count,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections; new ones are let through.
    pub fn cut(&self) {
        self.mode.send_modify(|mode| {
            *mode = match *mode {
                Mode::Cut(count) => Mode::Cut(count + 1),
                _ => Mode::Cut(1),
            }
        });
    }

    /// Nothing comes through any more, on present and new connections.
    pub fn swallow(&self) {
        self.mode.send_replace(Mode::Swallowed);
    }

    /// The same, as when a cable is pulled; returns when somebody has given up a silent connection and tries another one.
    pub async fn swallow_until_given_up(&self) {
        self.swallow();
        let mut count = self.count.clone();
        let before = *count.borrow_and_update();
        let tried = count.wait_for(|count| *count > before);
        tokio::time::timeout(GIVEN_UP_WITHIN, tried)
            .await
            .expect("a silent connection is given up")
            .unwrap();
    }

    /// Lets everything through again. What was swallowed comes late.
    pub fn pass(&self) {
        self.mode.send_replace(Mode::Passed);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        if mode
            .wait_for(|mode| *mode != Mode::Swallowed)
            .await
            .is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}
