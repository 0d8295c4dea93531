//! A TCP proxy in front of a real server, which a test freezes, cuts and leads elsewhere.
//!
//! A frozen connection is half-open: both sockets stay open, and no byte passes. That is what a client sees of a server
//! whose machine has lost its network or power, or of a firewall that has dropped the connection from its table.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How much is read at a time. A frozen connection holds so much in each direction and reads no more.
const CHUNK_BYTES: usize = 16 * 1024;

/// A proxy on a port of the loopback address. When it is dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    /// The server's URL, with the proxy's address in the place of the server's.
    pub url: String,
    state: Arc<watch::Sender<State>>,
    accepts: JoinHandle<()>,
}

/// What the connections go by. They have numbers, from 0 in the order of their beginning.
#[derive(Clone, Debug)]
struct State {
    /// Where new connections lead, as host:port.
    server: String,
    is_frozen: bool,
    /// Connections with lower numbers are frozen.
    frozen_below: u64,
    /// Connections with lower numbers are closed.
    cut_below: u64,
    opened: u64,
    open: u64,
}

impl Proxy {
    /// Starts a proxy in front of the server that a URL names: `redis://…`, `postgres://…` or any other with a port.
    ///
    /// # Panics
    /// If the URL has no host with a port, or no port is free.
    pub async fn start(server_url: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let (before, server, after) = parts(server_url);
        let url = format!("{before}{address}{after}");
        let state = State { server: server.to_owned(), is_frozen: false, frozen_below: 0, cut_below: 0, opened: 0, open: 0 };
        let state = Arc::new(watch::Sender::new(state));
        let accepts = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { url, state, accepts }
    }

    /// Freezes every connection, those of the future too: they are accepted, and no byte passes.
    pub fn freeze(&self) {
        self.state.send_modify(|state| state.is_frozen = true);
    }

    /// Freezes the connections that exist now. New ones work.
    pub fn freeze_existing(&self) {
        self.state.send_modify(|state| state.frozen_below = state.opened);
    }

    /// Lets every connection go on. What was sent meanwhile arrives, in order.
    pub fn thaw(&self) {
        self.state.send_modify(|state| (state.is_frozen, state.frozen_below) = (false, 0));
    }

    /// Closes the connections that exist now, frozen ones too. New ones work.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cut_below = state.opened);
    }

    /// Leads new connections to another server, as a DNS name or a load balancer does after a failover. Existing
    /// connections stay where they are.
    ///
    /// # Panics
    /// If the URL has no host with a port.
    pub fn lead_to(&self, server_url: &str) {
        let server = parts(server_url).1.to_owned();
        self.state.send_modify(|state| state.server = server);
    }

    /// Returns the number of connections since the start.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.state.borrow().opened
    }

    /// Returns the number of connections that are open now, frozen ones among them: a frozen connection stays open here
    /// until it is thawed or cut, also when its client has closed it.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.state.borrow().open
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        self.cut();
    }
}

/// Splits a URL into what is before its host and port, these, and what is after them.
fn parts(url: &str) -> (&str, &str, &str) {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    let begin = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    assert!(url[begin..end].contains(':'), "a URL with a host and a port");
    (&url[..begin], &url[begin..end], &url[end..])
}

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut number = 0;
        state.send_modify(|state| {
            number = state.opened;
            state.opened += 1;
            state.open += 1;
        });
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut changes = state.subscribe();
            tokio::select! {
                biased;
                _ = changes.wait_for(|state| number < state.cut_below) => {}
                () = forward(client, number, &state) => {}
            }
            state.send_modify(|state| state.open -= 1);
        });
    }
}

/// Carries bytes both ways until one end has closed or failed.
async fn forward(client: TcpStream, number: u64, state: &watch::Sender<State>) {
    thawed(number, state).await;
    let address = state.borrow().server.clone();
    let Ok(server) = TcpStream::connect(address).await else { return };
    for socket in [&client, &server] {
        let _ = socket.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = carry(from_client, to_server, number, state) => {}
        _ = carry(from_server, to_client, number, state) => {}
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    number: u64,
    state: &watch::Sender<State>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        thawed(number, state).await;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..length]).await?;
    }
}

/// Waits while a connection is frozen.
async fn thawed(number: u64, state: &watch::Sender<State>) {
    let mut changes = state.subscribe();
    let _ = changes.wait_for(|state| !state.is_frozen && number >= state.frozen_below).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eventually_is, must_complete};

    /// A server that sends its name and then everything that it gets.
    async fn echo(name: &'static [u8]) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("echo://user:p%40ss@{}/path?query", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    socket.write_all(name).await.unwrap();
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        url
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(parts(&proxy.url).1).await.unwrap()
    }

    async fn read(socket: &mut TcpStream) -> u8 {
        must_complete("a byte arrives", socket.read_u8()).await.unwrap()
    }

    #[test]
    fn url_parts_are_found() {
        assert_eq!(parts("a://u:p@h:1/d?x=y@z:2"), ("a://u:p@", "h:1", "/d?x=y@z:2"));
        assert_eq!(parts("a://h:1?x"), ("a://", "h:1", "?x"));
        assert_eq!(parts("h:1"), ("", "h:1", ""));
    }

    #[tokio::test]
    async fn frozen_connection_goes_on_when_thawed() {
        let proxy = Proxy::start(&echo(b"a").await).await;
        assert!(proxy.url.starts_with("echo://user:p%40ss@127.0.0.1:") && proxy.url.ends_with("/path?query"));
        let mut old = connect(&proxy).await;
        assert_eq!(read(&mut old).await, b'a');
        proxy.freeze();
        old.write_all(b"1").await.unwrap();
        let mut new = connect(&proxy).await;
        new.write_all(b"2").await.unwrap();
        eventually_is("both connections are counted", || proxy.opened() == 2).await;
        assert!(old.try_read(&mut [0]).is_err() && new.try_read(&mut [0]).is_err(), "nothing arrives");
        proxy.thaw();
        assert_eq!(read(&mut old).await, b'1');
        assert_eq!((read(&mut new).await, read(&mut new).await), (b'a', b'2'));
    }

    #[tokio::test]
    async fn existing_connections_freeze_and_new_ones_work() {
        let proxy = Proxy::start(&echo(b"a").await).await;
        let mut old = connect(&proxy).await;
        assert_eq!(read(&mut old).await, b'a');
        proxy.freeze_existing();
        old.write_all(b"1").await.unwrap();
        let mut new = connect(&proxy).await;
        assert_eq!(read(&mut new).await, b'a');
        assert!(old.try_read(&mut [0]).is_err(), "nothing arrives on the old one");
        assert_eq!(proxy.open(), 2);
        proxy.cut();
        assert_eq!(must_complete("the old one ends", old.read(&mut [0])).await.unwrap_or(0), 0);
        assert_eq!(must_complete("the new one ends", new.read(&mut [0])).await.unwrap_or(0), 0);
        eventually_is("no connection is open", || proxy.open() == 0).await;
    }

    #[tokio::test]
    async fn new_connections_lead_elsewhere() {
        let proxy = Proxy::start(&echo(b"a").await).await;
        let mut old = connect(&proxy).await;
        assert_eq!(read(&mut old).await, b'a');
        proxy.lead_to(&echo(b"b").await);
        assert_eq!(read(&mut connect(&proxy).await).await, b'b');
        old.write_all(b"1").await.unwrap();
        assert_eq!(read(&mut old).await, b'1');
    }
}
