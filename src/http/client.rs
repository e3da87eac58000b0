//! Posting something somewhere, once.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;

use crate::config::{Secret, Webhook};
use crate::net::socket::{Address, Socket, TcpOptions};
use crate::net::tls::{ServerTls, TlsError};

/// Why it was not taken. Never has the path or the header in it, which may be secrets.
#[derive(Debug, Error)]
pub enum PostError {
    /// Nobody can be reached there.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// TLS comes to nothing.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// There was no answer that could be understood.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// The request can't be made.
    #[error("what is configured makes no request")]
    Request,
    /// It was refused.
    #[error("the answer is {0}")]
    Refused(u16),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Posts a JSON document and waits for a good answer, of which nothing but the status is read.
/// `tls` is for receivers that are `secure`.
///
/// # Errors
/// Why the receiver has not taken it, as far as we know.
pub async fn post(
    to: &Webhook,
    tls: &ServerTls,
    authorization: Option<&Secret>,
    body: String,
    limit: Duration,
) -> Result<(), PostError> {
    let posted = timeout(limit, try_post(to, tls, authorization, body)).await;
    posted.map_err(|_elapsed| PostError::Late(limit))?
}

async fn try_post(
    to: &Webhook,
    tls: &ServerTls,
    authorization: Option<&Secret>,
    body: String,
) -> Result<(), PostError> {
    let request = request(to, authorization, body).ok_or(PostError::Request)?;
    let address = Address::Tcp(to.host.clone(), to.port);
    let mut socket = Socket::connect(&address, &TcpOptions::default()).await?;
    if to.secure {
        socket = tls.connect(socket, &to.host).await?.socket;
    }
    let (mut sender, connection) = handshake(TokioIo::new(socket)).await?;
    let response = sender.send_request(request);
    tokio::pin!(connection, response);
    let response = tokio::select! {
        biased;
        response = &mut response => response?,
        // Its end is told to the response as well.
        ended = &mut connection => {
            ended?;
            response.await?
        }
    };
    let status = response.status();
    if status.is_success() { Ok(()) } else { Err(PostError::Refused(status.as_u16())) }
}

fn request(
    to: &Webhook,
    authorization: Option<&Secret>,
    body: String,
) -> Option<Request<Full<Bytes>>> {
    let host = Address::Tcp(to.host.clone(), to.port).to_string();
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(to.path.expose())
        .header(HOST, host)
        .header(USER_AGENT, concat!("pgweir/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json");
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::from_str(authorization.expose()).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(body.into())).ok()
}
