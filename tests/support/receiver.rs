//! A receiver of HTTP requests, as alerts are posted to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its first line and its headers.
    pub head: String,
    pub body: String,
}

/// Reads one request and gives this answer.
pub fn answer(stream: &mut (impl Read + Write), status: &str) -> Option<Received> {
    let (mut head, mut length) = (String::new(), 0);
    let mut reader = BufReader::new(&mut *stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            return None;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    drop(reader);
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok()?;
    Some(Received { head, body: String::from_utf8(body).ok()? })
}

/// A port that refuses connections until somebody listens there.
pub struct Receiver {
    socket: socket2::Socket,
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub fn refusing() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, address, received: Arc::default() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Listens from now on; the first requests get these answers, all others 200.
    pub fn listen(&self, first: &[&'static str]) {
        self.socket.listen(16).unwrap();
        let listener = TcpListener::from(self.socket.try_clone().unwrap());
        let (received, mut first) = (Arc::clone(&self.received), first.to_vec());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let status = if first.is_empty() { "200 OK" } else { first.remove(0) };
                if let Some(request) = answer(&mut stream.unwrap(), status)
                    && status == "200 OK"
                {
                    received.lock().unwrap().push(request);
                }
            }
        });
    }

    /// What it has taken so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}
