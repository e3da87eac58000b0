//! A bare TCP relay: what any proxy must cost at least, because it reads and writes each byte once.
//!
//! One event loop per core, one server connection per client, no protocol. The loop that accepts
//! hands connections to the others in turn.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const SCRATCH: usize = 128 * 1024;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Relays every connection of `listener` to `upstream` until the process ends.
pub(crate) fn run(listener: std::net::TcpListener, upstream: SocketAddr) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let mut loops = Vec::new();
    for _ in 0..cores {
        let (sender, receiver) = mpsc::unbounded_channel();
        loops.push(sender);
        std::thread::spawn(move || run_loop(receiver, upstream));
    }
    for next in loops.iter().cycle() {
        let (stream, _) = listener.accept()?;
        next.send(stream)?;
    }
    Ok(())
}

fn run_loop(
    mut clients: mpsc::UnboundedReceiver<std::net::TcpStream>,
    upstream: SocketAddr,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async move {
        while let Some(client) = clients.recv().await {
            tokio::spawn(async move {
                // Whatever ends a connection ends both sides; there is nobody to tell.
                connect(client, upstream).await.ok();
            });
        }
        Ok(())
    })
}

/// Connects to the server and leaves the rest to a task of its own, which is smaller.
async fn connect(client: std::net::TcpStream, upstream: SocketAddr) -> io::Result<()> {
    client.set_nonblocking(true)?;
    let client = TcpStream::from_std(client)?;
    client.set_nodelay(true)?;
    let server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    tokio::spawn(Relay { client, server, up: Vec::new(), down: Vec::new() });
    Ok(())
}

/// Both sockets and what could not be written yet; ready when either side has gone.
struct Relay {
    client: TcpStream,
    server: TcpStream,
    up: Vec<u8>,
    down: Vec<u8>,
}

impl Future for Relay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { client, server, up, down } = self.get_mut();
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let sent = poll_direction(client, server, up, scratch, cx);
            let received = poll_direction(server, client, down, scratch, cx);
            if sent.is_ready() || received.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

/// Moves bytes one way until there are none or the writer is full; ready at the end of either.
fn poll_direction(
    from: &mut TcpStream,
    to: &mut TcpStream,
    unsent: &mut Vec<u8>,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    loop {
        while !unsent.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, unsent))?;
            unsent.drain(..written);
            if unsent.is_empty() {
                *unsent = Vec::new();
            }
        }
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
        let mut bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Poll::Pending => {
                    unsent.extend_from_slice(bytes);
                    return Poll::Pending;
                }
            }
        }
    }
}
