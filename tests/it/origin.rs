//! A loopback HTTP server that does what it is told, however wrong that is, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

/// What a handler answers through.
pub(crate) struct Reply<'connection> {
    out: &'connection mut dyn Write,
    socket: TcpStream,
    stopped: &'connection AtomicBool,
    closes: bool,
}

/// A server; it stops when it is dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
}

type Handler = dyn Fn(&Request, &mut Reply<'_>) + Send + Sync;

struct State {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    busy: AtomicUsize,
    busiest: AtomicUsize,
    stopped: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first byte that is asked for.
    pub(crate) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

impl Reply<'_> {
    pub(crate) fn head(&mut self, status: &str, headers: &[(&str, &str)]) {
        let fields: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.body(format!("HTTP/1.1 {status}\r\n{}\r\n", fields.concat()).as_bytes());
    }

    /// A whole answer.
    pub(crate) fn whole(&mut self, status: &str, headers: &[(&str, &str)], body: &[u8]) {
        let length = body.len().to_string();
        self.head(status, &[headers, &[("Content-Length", &length)]].concat());
        self.body(body);
    }

    /// Bytes of the body. A client that has hung up is no error: some are to.
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        self.closes |= self.out.write_all(bytes).and_then(|()| self.out.flush()).is_err();
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        self.body(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
    }

    /// `bytes` as a good server gives them, the part that is asked for.
    pub(crate) fn file(&mut self, request: &Request, bytes: &[u8]) {
        match request.from() {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                self.whole("206 Partial Content", &[("Content-Range", &range)], &bytes[from..]);
            }
            None => self.whole("200 OK", &[("Accept-Ranges", "bytes")], bytes),
        }
    }

    /// The head for `bytes` and their beginning, and then the connection is closed.
    pub(crate) fn broken(&mut self, bytes: &[u8], after: usize) {
        self.head("200 OK", &[("Content-Length", &bytes.len().to_string())]);
        self.body(&bytes[..after]);
        self.close();
    }

    pub(crate) fn close(&mut self) {
        self.closes = true;
    }

    /// Closes the connection in the rudest way there is.
    pub(crate) fn reset(&mut self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.socket, sockopt::Linger, &linger).unwrap();
        self.closes = true;
    }

    /// Says nothing more, for as long as the server lives or the client waits.
    pub(crate) fn stall(&mut self) {
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut byte = [0];
        while !self.stopped.load(Ordering::Relaxed) {
            match self.socket.read(&mut byte) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        self.closes = true;
    }

    /// Whether writing still makes sense.
    pub(crate) fn is_open(&self) -> bool {
        !self.closes && !self.stopped.load(Ordering::Relaxed)
    }
}

impl Origin {
    pub(crate) fn serve(handler: impl Fn(&Request, &mut Reply<'_>) + Send + Sync + 'static) -> Self {
        Self::start("http", None, Box::new(handler))
    }

    /// Over TLS, with a certificate for `localhost` that nobody knows; gives it in PEM.
    pub(crate) fn serve_tls(handler: impl Fn(&Request, &mut Reply<'_>) + Send + Sync + 'static) -> (Self, String) {
        Self::serve_tls_for(&["localhost"], handler)
    }

    /// The same under other names.
    pub(crate) fn serve_tls_for(
        names: &[&str],
        handler: impl Fn(&Request, &mut Reply<'_>) + Send + Sync + 'static,
    ) -> (Self, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        (Self::start("https", Some(Arc::new(config)), Box::new(handler)), own.cert.pem())
    }

    /// A good server with one file at every path.
    pub(crate) fn of_file(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self::serve(move |request, reply| reply.file(request, &bytes))
    }

    /// A server that gives every request the same answer.
    pub(crate) fn of_status(status: &'static str) -> Self {
        Self::serve(move |_, reply| reply.whole(status, &[], b"no"))
    }

    fn start(scheme: &'static str, tls: Option<Arc<rustls::ServerConfig>>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            handler,
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            busiest: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            tls,
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if shared.stopped.load(Ordering::Relaxed) {
                    break;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let state = Arc::clone(&shared);
                std::thread::spawn(move || state.speak(&socket));
            }
        });
        Self { address, scheme, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}/{path}", self.scheme, self.address.port())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// How many requests were being answered at once, at most.
    pub(crate) fn busiest(&self) -> usize {
        self.state.busiest.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

impl State {
    fn speak(&self, socket: &TcpStream) {
        socket.set_nodelay(true).unwrap();
        match &self.tls {
            None => self.answer(socket.try_clone().unwrap(), socket),
            Some(config) => {
                let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                self.answer(rustls::StreamOwned::new(connection, socket.try_clone().unwrap()), socket);
            }
        }
    }

    fn answer(&self, stream: impl Read + Write, socket: &TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read(&mut stream) {
            let now = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
            self.busiest.fetch_max(now, Ordering::Relaxed);
            self.requests.lock().unwrap().push(request.clone());
            let mut reply = Reply {
                out: stream.get_mut(),
                socket: socket.try_clone().unwrap(),
                stopped: &self.stopped,
                closes: false,
            };
            (self.handler)(&request, &mut reply);
            let closes = reply.closes;
            self.busy.fetch_sub(1, Ordering::Relaxed);
            if closes {
                break;
            }
        }
    }
}

fn read(stream: &mut impl std::io::BufRead) -> Option<Request> {
    let mut lines = stream.by_ref().lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| line.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned()))).collect();
    Some(Request { path, headers })
}
