//! The state of one TLS connection: bytes in, bytes out, no socket and no buffer.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, PeerMisbehaved};

/// Either end of it.
pub(super) enum Session {
    Accepted(UnbufferedServerConnection),
    Connected(UnbufferedClientConnection),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accepted(_) => "Accepted(***)",
            Self::Connected(_) => "Connected(***)",
        })
    }
}

/// What a step is to do.
pub(super) struct Work<'a> {
    /// Takes what is decrypted.
    pub(super) plain: &'a mut dyn FnMut(&[u8]),
    /// Gets what TLS itself has to say.
    pub(super) out: &'a mut Vec<u8>,
    pub(super) seal: Seal<'a>,
}

/// What is to be encrypted when that is possible.
pub(super) enum Seal<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Close,
}

/// What a step came to.
pub(super) enum Step {
    /// There may be more to do.
    Again,
    /// The handshake needs more bytes.
    Blocked,
    /// All that has come is decrypted.
    Open,
    /// The peer has ended the stream.
    Ended,
}

impl Session {
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Accepted(session) => session,
            Self::Connected(session) => session,
        }
    }

    /// Gives how much of `sealed` was used.
    pub(super) fn step(
        &mut self,
        sealed: &mut [u8],
        work: Work<'_>,
    ) -> (usize, Result<Step, Error>) {
        let mut unsealed = Vec::new();
        match self {
            Self::Accepted(session) => {
                step(session.process_tls_records(sealed), work, &mut unsealed).0
            }
            Self::Connected(session) => {
                step(session.process_tls_records(sealed), work, &mut unsealed).0
            }
        }
    }

    /// Encrypts into the start of `sealed`, which grows as needed, and gives how much it is.
    pub(super) fn seal(&mut self, work: Work<'_>, sealed: &mut Vec<u8>) -> Result<usize, Error> {
        let Work { plain, out, seal } = work;
        let mut turns = 0;
        loop {
            let seal = match &seal {
                Seal::Bytes(bytes) => Seal::Bytes(bytes),
                Seal::Close => Seal::Close,
                Seal::Nothing => return Ok(0),
            };
            let work = Work { plain: &mut *plain, out: &mut *out, seal };
            let ((_, done), len) = match self {
                Self::Accepted(session) => step(session.process_tls_records(&mut []), work, sealed),
                Self::Connected(session) => {
                    step(session.process_tls_records(&mut []), work, sealed)
                }
            };
            match done? {
                Step::Open => return Ok(len),
                Step::Again | Step::Ended if turns < TURNS_MAX => turns += 1,
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }
}

/// Whether what came is no record of the connection, whatever is in it.
pub(super) fn is_of_record(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord
            | Error::PeerMisbehaved(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec)
    )
}

/// More than TLS ever has to say between two records of ours.
const TURNS_MAX: usize = 16;

/// Carries out what one status asks for. Beside the outcome it gives the length of what was
/// encrypted into `sealed`.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    work: Work<'_>,
    sealed: &mut Vec<u8>,
) -> ((usize, Result<Step, Error>), usize) {
    let UnbufferedStatus { mut discard, state } = status;
    let mut len = 0;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Step::Again),
                Some(Ok(record)) => {
                    discard += record.discard;
                    (work.plain)(record.payload);
                }
                Some(Err(error)) => break Err(error),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let start = work.out.len();
            loop {
                match data.encode(work.out.get_mut(start..).unwrap_or_default()) {
                    Ok(written) => {
                        work.out.truncate(start + written);
                        break Ok(Step::Again);
                    }
                    Err(EncodeError::InsufficientSize(needed)) => {
                        work.out.resize(start + needed.required_size, 0);
                    }
                    Err(EncodeError::AlreadyEncoded) => break Err(Error::HandshakeNotComplete),
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It stands in `out`, which goes out before anything else.
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => loop {
            let written = match work.seal {
                Seal::Nothing => Ok(0),
                Seal::Bytes(bytes) => traffic.encrypt(bytes, sealed),
                Seal::Close => traffic.queue_close_notify(sealed),
            };
            match written {
                Ok(written) => {
                    len = written;
                    break Ok(Step::Open);
                }
                Err(EncryptError::InsufficientSize(needed)) => {
                    sealed.resize(needed.required_size, 0);
                }
                Err(EncryptError::EncryptExhausted) => break Err(Error::EncryptError),
            }
        },
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Ended),
        // We accept no early data, and there is nothing else.
        Ok(_) => Err(Error::HandshakeNotComplete),
    };
    ((discard, step), len)
}
