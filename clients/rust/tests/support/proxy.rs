//! A TCP proxy that cuts connections, between a client and the server.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes bytes on until it is told to cut, or has passed so many of the server's.
pub struct CuttingProxy {
    pub address: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    /// Counts the cuts; a connection ends when it changes.
    cuts: watch::Sender<u64>,
    left_bytes: Mutex<Option<usize>>,
    connections: AtomicUsize,
}

impl CuttingProxy {
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            cuts: watch::Sender::new(0),
            left_bytes: Mutex::new(None),
            connections: AtomicUsize::new(0),
        });
        let (shared, upstream) = (state.clone(), upstream.to_owned());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(pass(client, upstream.clone(), shared.clone()));
            }
        });
        Self {
            address,
            state,
            accepting,
        }
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Ends every connection that is open now, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts once, when so many further bytes of the server have passed.
    pub fn cut_after(&self, bytes: usize) {
        *self.state.left_bytes.lock().unwrap() = Some(bytes);
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn pass(mut client: TcpStream, upstream: String, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    cuts.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let upwards = tokio::io::copy(&mut from_client, &mut to_server);
    let downwards = async {
        let mut chunk = vec![0; 1 << 14];
        loop {
            let length = from_server.read(&mut chunk).await.unwrap_or(0);
            if length == 0 || to_client.write_all(&chunk[..length]).await.is_err() {
                return;
            }
            if state.is_spent(length) {
                state.cuts.send_modify(|cuts| *cuts += 1);
            }
        }
    };
    tokio::select! {
        _ = upwards => {}
        () = downwards => {}
        _ = cuts.changed() => {}
    }
}

impl State {
    fn is_spent(&self, bytes: usize) -> bool {
        let mut left = self.left_bytes.lock().unwrap();
        match *left {
            Some(few) if few <= bytes => {
                *left = None;
                true
            }
            Some(more) => {
                *left = Some(more - bytes);
                false
            }
            None => false,
        }
    }
}
