//! /, /metrics, /livez and /readyz over plain HTTP; and posting to others, which may speak TLS.
//!
//! The doorkeeper of hyper. What is on the pages is somebody else's: see [`Pages`]. One request
//! per connection, few connections, and a deadline for each: nobody can hold anything here.

mod client;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout};

pub use self::client::{PostError, post};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take to come.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may take altogether.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15);
/// How many bytes a request's head may have.
const HEAD_MAX: usize = 16 * 1024;
/// How long nobody is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served.
pub trait Pages: Send + Sync + 'static {
    /// `/`, for people, in HTML.
    fn status(&self) -> String;
    /// `/metrics`, in Prometheus's text format.
    fn metrics(&self) -> String;
    /// `/readyz`: why clients are not welcome, if they are not.
    fn unready(&self) -> Option<&'static str>;
}

/// Serves for as long as it is polled; `listener` must not block.
///
/// # Errors
/// When the listener can't be registered with this runtime.
pub async fn serve(listener: std::net::TcpListener, pages: Arc<dyn Pages>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let turn = Arc::new(Mutex::new(()));
    // Never closed, so there is always a place in the end.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (pages, turn) = (Arc::clone(&pages), Arc::clone(&turn));
                // Ends by its deadline, or with the runtime.
                tokio::spawn(async move {
                    connection(stream, pages, turn).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept HTTP connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    Ok(())
}

async fn connection(stream: TcpStream, pages: Arc<dyn Pages>, turn: Turn) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &*pages, &turn).await)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIMIT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
        Err(_) => tracing::debug!("an HTTP connection took too long"),
    }
}

/// Who makes a page that takes time.
type Turn = Arc<Mutex<()>>;

/// Makes a page. One is made at a time, and others of this thread have as much time before the next.
async fn made(turn: &Turn, make: impl FnOnce() -> String) -> String {
    let turn = Arc::clone(turn).lock_owned().await;
    let begun = Instant::now();
    let page = make();
    let took = begun.elapsed();
    // Ends soon, or with the runtime.
    tokio::spawn(async move {
        sleep(took).await;
        drop(turn);
    });
    page
}

async fn answer(
    method: &Method,
    path: &str,
    pages: &dyn Pages,
    turn: &Turn,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is served here\n");
    }
    match path {
        "/" => document(made(turn, || pages.status()).await),
        "/livez" => page(StatusCode::OK, "text/plain", "alive\n"),
        "/readyz" => match pages.unready() {
            None => page(StatusCode::OK, "text/plain", "ready\n"),
            Some(why) => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{why}\n")),
        },
        "/metrics" => {
            let text = made(turn, || pages.metrics()).await;
            page(StatusCode::OK, "text/plain; version=0.0.4", text)
        }
        _ => page(StatusCode::NOT_FOUND, "text/plain", "not found\n"),
    }
}

fn page(
    status: StatusCode,
    content: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

/// A document that nothing from elsewhere can be in, and that is nobody else's part.
fn document(text: String) -> Response<Full<Bytes>> {
    let mut response = page(StatusCode::OK, "text/html; charset=utf-8", text);
    for (name, value) in [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(bool);

    impl Pages for Fixed {
        fn status(&self) -> String {
            "<p>".to_owned()
        }

        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }

        fn unready(&self) -> Option<&'static str> {
            (!self.0).then_some("stopping")
        }
    }

    #[tokio::test]
    async fn pages_answer_with_their_status() {
        for (method, path, ready, status) in [
            (Method::GET, "/livez", false, 200),
            (Method::GET, "/readyz", true, 200),
            (Method::GET, "/readyz", false, 503),
            (Method::GET, "/metrics", true, 200),
            (Method::GET, "/", true, 200),
            (Method::GET, "/other", true, 404),
            (Method::POST, "/metrics", true, 405),
        ] {
            let answer = answer(&method, path, &Fixed(ready), &Turn::default()).await;
            assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn pages_leave_as_much_time_to_others_as_they_take() {
        let (turn, begun) = (Turn::default(), Instant::now());
        let page = || {
            std::thread::sleep(Duration::from_millis(30));
            String::new()
        };
        made(&turn, page).await;
        made(&turn, page).await;
        // The first one, the pause, the second one.
        assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    }
}
